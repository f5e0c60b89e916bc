"""What is learnt from outcomes, what callers say of answers, and how the strongest would have answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

share: sa.Double[float] = sa.Double()


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "calibrations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="calibrations_pkey"),
    )
    op.create_index("calibrations_by_kind", "calibrations", ["kind", "created_at"])
    op.create_table(
        "feedback",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("score", share, nullable=False),
        sa.PrimaryKeyConstraint("id", name="feedback_pkey"),
    )
    op.create_index("feedback_by_request", "feedback", ["request_id"])
    op.create_index("feedback_by_time", "feedback", ["created_at"])
    op.create_table(
        "shadows",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("strongest", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("difference", share),
        sa.Column("judge", sa.Text(), nullable=False),
        sa.Column("usd_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="shadows_pkey"),
    )
    op.create_index("shadows_by_time", "shadows", ["created_at"])
