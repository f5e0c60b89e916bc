"""Keys, stored responses, idempotent replies; whose key a ledger row belongs to, and cache writes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.add_column("ledger", sa.Column("key_id", sa.Text(), nullable=False, server_default=""))
    op.add_column(
        "ledger", sa.Column("cache_written_tokens", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_index("ledger_by_key", "ledger", ["key_id", "created_at"])
    op.create_table(
        "keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("old_digest", sa.Text()),
        sa.Column("old_digest_until", sa.Text()),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text()),
        sa.Column("revoked_at", sa.Text()),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger()),
        sa.Column("tokens_per_minute", sa.BigInteger()),
        sa.Column("usd_nano_per_day", sa.BigInteger()),
        sa.Column("usd_nano_per_month", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="keys_pkey"),
    )
    op.create_table(
        "responses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="responses_pkey"),
    )
    op.create_index("responses_by_time", "responses", ["created_at"])
    op.create_table(
        "idempotency",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("key_id", "idempotency_key", name="idempotency_pkey"),
    )
    op.create_index("idempotency_by_time", "idempotency", ["created_at"])
