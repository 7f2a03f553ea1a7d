"""What a citizen writes is nowhere in Postgres's files: tables, write-ahead log, statistics, the server's log."""

from __future__ import annotations

from pathlib import Path

from tests.store.conftest import SECRET
from tests.support.databases import TestDatabase

# Forms in which Postgres or its tools may write the same text.
FORMS = [SECRET.encode(), SECRET.encode().hex().encode(), SECRET.encode("utf-16-le"), b"Zz48"]


def test_a_planted_string_is_nowhere_in_the_servers_files(demo: TestDatabase, whole: str) -> None:
    """In names, documents, answers, exchanges, reasons, letters, proofs (whole_case.py). A control is found."""
    with demo.superuser() as connection:
        connection.execute("insert into tenant values ('control', '{\"planted\": \"SichtbarControl77\"}')")
        connection.execute("analyze")
        connection.execute("checkpoint")
        row = connection.execute("show data_directory").fetchone()
    assert row is not None
    files = {path: _content(path) for path in Path(str(row[0])).parent.rglob("*") if path.is_file()}
    assert sum(b"SichtbarControl77" in content for content in files.values()) >= 2, "a table and the log"
    found = [path.name for path, content in files.items() for form in FORMS if form in content]
    assert found == []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a cache of the running server's, which it makes anew
        return b""
