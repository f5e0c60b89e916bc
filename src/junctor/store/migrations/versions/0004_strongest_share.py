"""How much of the strongest model a key may have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply."""
    op.add_column("keys", sa.Column("strongest_share", sa.Double()))
