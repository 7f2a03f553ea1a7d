"""Tables, the guards of the ledger, roles and row security.

There is no way down: a ministry's records are not dropped by a command.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

_SQL = Path(__file__).resolve().parent.parent / "sql"


def upgrade() -> None:
    for part in ("0001_tables", "0001_guards", "0001_rights"):
        # No driver parameters: the SQL holds percent signs.
        op.get_bind().connection.cursor().execute((_SQL / f"{part}.sql").read_bytes())
