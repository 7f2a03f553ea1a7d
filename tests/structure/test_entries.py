"""Every change is made with its ledger entry, or is named here with the reason why it needs none.

Read off the code (changes.py). That a case's tables cannot be changed without one by any statement at all is shown on
the database: tests/store/test_guards.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from diwan.store.tables import metadata
from tests.structure.changes import Changes, read

ROOT = Path(__file__).resolve().parents[2]
CODE = [path for package in ("diwan", "activities") for path in sorted((ROOT / package).rglob("*.py"))]
TABLES = frozenset(table.name for table in metadata.tables.values())
# Functions of the database's that change what their caller may not: migrations/versions.
DOORS = frozenset({"diwan_remove_upload", "diwan_forget_hosts", "diwan_forget_parties"})

_TREE = "The tree is made of entries: a place in it is no change of what they say."
_OUTBOX = "Whether a delivery arrived is the receiver's to say; what is delivered is decided with an entry."
# Who begins a transaction, or is never called, changes what, and why that is no matter of record.
NONE_NEEDED: dict[tuple[str, str], str] = {
    ("documents.stage", "blob"): "A file that no event names: the event's entry commits to it, or it is removed.",
    ("documents.stage", "document"): "As above.",
    ("housekeeping.Uploads.pass_once", "diwan_remove_upload"): "As above.",
    ("relay.Doorbell.pass_once", "case_file"): "How often a case was rung for; `tests/store/test_rights.py`: no more.",
    ("relay.Delivery.pass_once", "outbox"): _OUTBOX,
    ("relay.Delivery._tried", "outbox"): _OUTBOX,
    ("pool_signs.Signs._give", "pool_host"): "A sign of life; each call's entry names its host, model and engine.",
    ("housekeeping.GoneHosts.pass_once", "diwan_forget_hosts"): "A sign of life grown old.",
    ("sequencer.Sequencer.grow_once", "ledger_shard"): _TREE,
    ("sequencer.Sequencer.grow_once", "ledger_tile"): _TREE,
    ("sequencer.Sequencer.grow_once", "ledger_leaf"): _TREE,
    ("sequencer.Sequencer.grow_once", "ledger_pending"): _TREE,
    ("sequencer.Sequencer._publish", "ledger_checkpoint"): "A checkpoint says what entries there are.",
    ("witnessing.Witnessing._ask", "ledger_cosigned"): "What witnesses say is signed by them, and of entries.",
    ("ledger_growth._kept_there", "ledger_cosigned"): "As above.",
    ("entry_index.catch_up", "ledger_index"): "A copy of what entries say, for searching.",
    ("entry_index.catch_up", "ledger_index_reach"): "As above.",
    ("registered.Registered.know", "workflow_run"): "A run that begins: what it does has entries, which name it.",
    ("histories.Histories._take", "workflow_run"): "When it is looked at again; its history is kept with an entry.",
    ("histories.Histories._erased", "workflow_run"): "The erasure of its case has its entries.",
    ("change", "case_file"): "The statement of `change_case` itself, which demands its entry.",
}
# Requests that may change something, and do not by an entry of their own.
ASKS_ONLY = {
    "clock.confirm": "`ClockWatch.confirm` puts it on record: tests/web/test_web_clock.py.",
    "documents.upload": "A file that no event names yet.",
}
_KIND = re.compile(r"[a-z][a-z_]*:[a-z][a-z_]*:(?:[a-z][a-z_]*)?")
_NO_KINDS = {"urn:diwan:counter"}


@pytest.fixture(scope="module")
def changes() -> Changes:
    return read(CODE, TABLES | DOORS)


def test_every_change_of_a_table_has_its_entry(changes: Changes) -> None:
    """A new path without one: write it in the same transaction (`change.record`, `append_entry`), or say why not."""
    without = {
        (end, table)
        for name, function in changes.functions.items()
        for table in function.writes
        for end in changes.without_entry(name)
    }
    assert without == NONE_NEEDED.keys()


def test_every_table_and_door_is_seen_to_be_written(changes: Changes) -> None:
    """What writes in a way that the reader cannot see would pass by it."""
    seen = set[str]().union(*(function.writes for function in changes.functions.values()))
    # What an entry is written to; and what triggers copy of a case that changes.
    assert (TABLES | DOORS) - seen == {"entry", "case_past"}


def test_the_reader_finds_what_it_is_there_for(tmp_path: Path) -> None:
    """A change without an entry behind a helper, a method and a statement of the module's; the same with one."""
    (tmp_path / "store.py").write_text(
        "_SQL = text('UPDATE task SET due_at = now()')\n"
        "async def write(conn):\n    await conn.execute(_SQL)\n"
        "async def built(conn):\n    await conn.execute(insert(party).values())\n"
        "async def inside(change: Change):\n    await change.conn.execute('DELETE FROM page')\n"
    )
    (tmp_path / "acts.py").write_text(
        "from store import built, write\nfrom x import store\nfrom diwan.store.entries import append_entry\n"
        "async def helper(conn):\n    await store.write(conn)\n"
        "async def bad(db):\n    async with db.transaction('t') as conn:\n        await helper(conn)\n"
        "async def good(db):\n    async with db.transaction('t') as conn:\n"
        "        await helper(conn)\n        await append_entry(conn)\n"
        "class Part:\n    async def _put(self, conn):\n        await built(conn)\n"
        "    async def bad(self):\n        async with self._db.transaction('t') as conn:\n"
        "            await self._put(conn)\n"
        "    async def look(self):\n        async with self._db.transaction('t', snapshot=True) as conn:\n"
        "            await conn.execute('SELECT 1')\n"
    )
    found = read(sorted(tmp_path.glob("*.py")), TABLES)
    assert found.functions["store.write"].writes == {"task"}
    assert found.without_entry("store.write") == {"acts.bad"}
    assert found.without_entry("store.built") == {"acts.Part.bad"}
    assert found.without_entry("store.inside") == set()


def test_every_request_that_may_change_something_is_on_record(changes: Changes) -> None:
    asked = {name for path in CODE if "web" in path.parts for name in _posts(path)}
    assert len(asked) > 5
    assert {name for name in asked if not changes.reaches_entry(name)} == ASKS_ONLY.keys()


def _posts(path: Path) -> Iterator[str]:
    """Functions that answer anything but a GET."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
            for each in node.decorator_list:
                called = each.func if isinstance(each, ast.Call) else each
                if isinstance(called, ast.Attribute) and called.attr in ("post", "put", "patch", "delete", "api_route"):
                    yield f"{path.stem}.{node.name}"


def test_the_page_of_kinds_has_those_of_the_code_and_no_others() -> None:
    """docs/entries.md: a new kind gets its row there, with the test that shows it."""
    page = (ROOT / "docs" / "entries.md").read_text(encoding="utf-8")
    told = set(re.findall(rf"`({_KIND.pattern})`", page))
    used = {kind for path in CODE for kind in _kinds(ast.parse(path.read_text(encoding="utf-8")))} - _NO_KINDS
    begun = {kind for kind in used if kind.endswith(":")}  # `ministry:day:` and the word for what it became
    assert {kind for kind in told if kind in used or not kind.startswith(tuple(begun))} == used - begun
    assert {each for each in begun if not any(kind.startswith(each) for kind in told)} == set()


def test_the_tests_that_the_page_names_are_there() -> None:
    page = (ROOT / "docs" / "entries.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[a-z_/]+\.py)`", page))
    assert len(named) > 10
    assert [each for each in sorted(named) if not (ROOT / each).is_file()] == []
    rows = [row for row in page.splitlines() if row.startswith("| ") and "---" not in row]
    assert [row for row in rows if "what happened" not in row and "`tests/" not in row] == []


def _kinds(tree: ast.AST) -> Iterator[str]:
    """Whole ones, and the beginnings of those that are put together."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        said = node.value if isinstance(node, ast.Constant) else None
        if isinstance(said, str) and _KIND.fullmatch(said) and (id(node) in parts or not said.endswith(":")):
            yield said
