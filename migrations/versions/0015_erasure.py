"""Erasing a case's data by destroying its keys, and the legal holds that stop it."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"

_SQL = Path(__file__).resolve().parent.parent / "sql"


def upgrade() -> None:
    # No driver parameters: the SQL holds percent signs.
    op.get_bind().connection.cursor().execute((_SQL / "0015_erasure.sql").read_bytes())
