"""Searching the ledger: the index takes in what has its place, once; a search reads the index of what it looks for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from diwan.domain.actor import system
from diwan.domain.errors import InvalidInput, Tampered, Unavailable
from diwan.store import entry_index
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.entry_index import Indexed, catch_up, indexed, take_in
from diwan.store.entry_search import Wanted, cases_of_person, search
from diwan.store.ledger_tree import grow, open_shard
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

AT = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
async def sequencer(demo: TestDatabase) -> AsyncIterator[Database]:
    made = Database.connect(demo.url("diwan_sequencer"), role="diwan_sequencer")
    yield made
    await made.dispose()


async def write(web: Database, sequencer: Database, count: int, tenant: str = TENANT) -> None:
    async with web.transaction(tenant) as conn:
        for _ in range(count):
            await append_entry(conn, tenant, "tests/search", "tests:entry:written", system(tenant, "t"), now=AT)
    async with sequencer.transaction(None) as conn:
        await grow(conn, await open_shard(conn, "ledger.example/search"), at_most=1000)


async def numbers(web: Database) -> list[int]:
    async with web.transaction(TENANT) as conn:
        found = await search(conn, TENANT, Wanted(kind="tests:entry:written"), limit=200)
    return [each.seq for each in found.entries]


async def test_what_has_its_place_is_taken_in_once_between_those_of_others(
    demo: TestDatabase, web: Database, sequencer: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_index, "_BATCH", 3)
    await write(web, sequencer, 4)
    await write(web, sequencer, 5, "other")
    await catch_up(web, TENANT)
    await catch_up(web, TENANT)
    assert await numbers(web) == [4, 3, 2, 1]
    await write(web, sequencer, 4)
    await catch_up(web, TENANT)
    assert await numbers(web) == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_much_at_once_is_taken_in_by_asking_again(
    demo: TestDatabase, web: Database, sequencer: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catch_up(web, TENANT)
    before = len(await numbers(web))
    monkeypatch.setattr(entry_index, "_BATCH", 2)
    monkeypatch.setattr(entry_index, "_MOST", 4)
    await write(web, sequencer, 5)
    with pytest.raises(Unavailable) as caught:
        await catch_up(web, TENANT)
    assert caught.value.code == "ledger.index_behind"
    assert len(await numbers(web)) == before + 4
    await catch_up(web, TENANT)
    assert len(await numbers(web)) == before + 5


async def test_two_who_search_at_once_take_turns(demo: TestDatabase, web: Database, sequencer: Database) -> None:
    await write(web, sequencer, 3)
    async with web.transaction(TENANT) as first:
        assert await take_in(first, TENANT, at_most=1)
    await catch_up(web, TENANT)
    found = await numbers(web)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"actor": {"subject": "a"}, "case": "c"}, Indexed(AT, "k", "a", "c", "", "", "", overridden=False)),
        (
            {
                **{"actor": {"subject": "a"}, "detail": {"case": "d", "tool": "t"}, "procedure_hash": "p"},
                **{"model": {"name": "m"}, "approval": {"overridden": True}},
            },
            Indexed(AT, "k", "a", "d", "t", "m", "p", overridden=True),
        ),
        ([], Indexed(AT, "k", "", "", "", "", "", overridden=False)),
        ({"actor": "x"}, Indexed(AT, "k", "", "", "", "", "", overridden=False)),
    ],
)
def test_what_a_header_is_found_by(header: Any, found: Indexed) -> None:
    assert indexed(json.dumps(header).encode(), "k", AT) == found
    assert indexed(b"\xff", "k", AT).kind == "k"


BY_ITS_INDEX = (
    (Wanted(), "ledger_index_at"),
    (Wanted(kind="k:k:1"), "ledger_index_kind"),
    (Wanted(actor="clerk-7"), "ledger_index_actor"),
    (Wanted(cases=["case-7"]), "ledger_index_case"),
    (Wanted(cases=["case-7", "case-9"]), "ledger_index_case"),
    (Wanted(tool="tool-1"), "ledger_index_tool"),
    (Wanted(model="model-1"), "ledger_index_model"),
    (Wanted(procedures=["p3"]), "ledger_index_procedure"),
    (Wanted(overridden=True), "ledger_index_overridden"),
)


class Explains:
    """A connection that asks how each search of the index would be done, instead of doing it."""

    def __init__(self, conn: Any) -> None:
        self.conn, self.plan = conn, ""

    async def execute(self, query: Any, *values: Any) -> Any:
        done = await self.conn.execute(query, *values)
        if "ledger_index.at" in str(query):
            asked = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
            explained = await self.conn.execute(text("EXPLAIN (FORMAT JSON) " + str(asked).replace(":", "\\:")))
            self.plan = json.dumps(explained.scalar_one())
        return done


async def test_each_search_reads_the_index_of_what_it_looks_for(demo: TestDatabase, web: Database) -> None:
    with demo.superuser() as connection:
        connection.execute("set session_replication_role = replica")  # no chains, no versions: only their number counts
        connection.execute(
            "insert into ledger_index select 'demo', '2099', g, 'x/' || g / 20, g % 20 + 1, "
            "timestamptz '2026-01-01' + g * interval '1 s', 'k:k:' || g % 5, 'clerk-' || g % 200, 'case-' || g / 20, "
            "case when g % 5 = 0 then 'tool-' || g % 2 else '' end, case when g % 5 = 1 then 'model-' || g % 3 else '' "
            "end, 'p' || (g / 20) % 5, g % 50 = 0 from generate_series(0, 19999) g"
        )
        connection.execute(
            "insert into entry (tenant, chain, seq, hash, prev_hash, header, kind, at) select tenant, chain, seq, "
            "decode(lpad('', 64, '0'), 'hex'), case seq when 1 then null else decode(lpad('', 64, '0'), 'hex') end, "
            "repeat('x', 500)::bytea, kind, at from ledger_index where shard = '2099'"
        )
        connection.execute(
            "insert into ledger_shard values ('2099', 'x/2099', 20000, decode(lpad('', 64, '0'), 'hex'), now())"
        )
        connection.execute("insert into ledger_index_reach values ('demo', '2099', 20000)")
        connection.execute("analyze ledger_index, entry")
    async with web.transaction(TENANT) as conn:
        for wanted, index in BY_ITS_INDEX:
            asked = Explains(conn)
            with pytest.raises(Tampered):  # the rows are no entries
                await search(asked, TENANT, wanted)  # pyright: ignore[reportArgumentType]
            assert f'"{index}"' in asked.plan, wanted
            assert "Seq Scan" not in asked.plan, wanted


async def test_a_name_that_too_many_have_is_asked_to_be_narrowed(
    demo: TestDatabase, web: Database, monkeypatch: pytest.MonkeyPatch, whole: str
) -> None:
    monkeypatch.setattr("diwan.store.entry_search.MOST_CASES", 0)
    async with web.transaction(TENANT) as conn:
        row = (await conn.execute(text("SELECT name_token FROM party LIMIT 1"))).one()
        with pytest.raises(InvalidInput) as caught:
            await cases_of_person(conn, TENANT, name_token=row.name_token)
    assert caught.value.code == "ledger.too_many_cases"
