"""The ledger's tree: the place of each entry, the hashes above them, and what was signed."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"

_SQL = Path(__file__).resolve().parent.parent / "sql"


def upgrade() -> None:
    # No driver parameters: the SQL holds percent signs.
    op.get_bind().connection.cursor().execute((_SQL / "0012_tree.sql").read_bytes())
