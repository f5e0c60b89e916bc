"""Upgrade a database to the newest revision: `python -m junctor.store.migrate PATH`.

The one file that imports Alembic. `junctor.store.schema` runs it as a child process; docs/adr/0001 says why.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

MIGRATIONS = Path(__file__).with_name("migrations")


def make_config(path: Path) -> Config:
    """Alembic's configuration for one database file; no `alembic.ini` is read."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}".replace("%", "%%"))
    return config


def main(arguments: list[str]) -> None:
    """Upgrade the file named by the only argument."""
    if len(arguments) != 1:
        sys.exit("usage: python -m junctor.store.migrate PATH")
    command.upgrade(make_config(Path(arguments[0])), "head")


if __name__ == "__main__":
    main(sys.argv[1:])
