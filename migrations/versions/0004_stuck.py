"""What the relay must see to find cases that nobody moves."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"

_SQL = Path(__file__).resolve().parent.parent / "sql"


def upgrade() -> None:
    # No driver parameters: the SQL holds percent signs.
    op.get_bind().connection.cursor().execute((_SQL / "0004_stuck.sql").read_bytes())
