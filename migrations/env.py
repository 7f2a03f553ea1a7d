"""Alembic's environment. Always online: diwan/store/migrate.py gives the connection and holds the time-outs."""

from __future__ import annotations

from alembic import context

from diwan.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
