"""Erasing what belongs to no case: uploads that nobody named, events that were put away, for whom auditors searched."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0023"
down_revision = "0022"

_SQL = Path(__file__).resolve().parent.parent / "sql"


def upgrade() -> None:
    # No driver parameters: the SQL holds percent signs.
    op.get_bind().connection.cursor().execute((_SQL / "0023_scopes.sql").read_bytes())
