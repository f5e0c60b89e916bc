"""The database: one writer thread, readers that do not block, migrations, and ids."""
