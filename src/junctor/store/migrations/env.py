"""Alembic's entry: it runs this file, with `context.config` made by `junctor.store.migrate`.

SQLite takes schema changes into transactions, Python's driver by default does not: so the connection is in
autocommit and the transaction is spelt out. A migration that fails, or is killed, leaves the file as it was.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

engine = create_engine(
    context.config.get_main_option("sqlalchemy.url", ""),
    isolation_level="AUTOCOMMIT",
    poolclass=NullPool,
    connect_args={"timeout": 30},
)
with engine.connect() as connection:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(connection=connection)
    context.run_migrations()
    connection.exec_driver_sql("COMMIT")
