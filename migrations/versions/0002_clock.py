"""The order of instants in a case, and the watch on the clock."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"

_SQL = Path(__file__).resolve().parent.parent / "sql"


def upgrade() -> None:
    # No driver parameters: the SQL holds percent signs.
    op.get_bind().connection.cursor().execute((_SQL / "0002_clock.sql").read_bytes())
