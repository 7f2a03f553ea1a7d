"""`python -m bench.ledger_search [ROWS]`: what the search index costs, and how long searches take over many entries.

An entry as it is written today beside the same with an index row written by a trigger in its transaction, in turns;
then `ROWS` (100,000) entries get their place, are taken into the index and searched. In memory, nothing is synced: what
is compared is work, not disks. Figures of one run: docs/adr/0025-an-index-that-searches-fill.md.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from bench.say import say
from diwan.domain.actor import Actor, ActorKind
from diwan.embedded.postgres import EmbeddedPostgres
from diwan.ledger.entry import EntryApproval, EntryModel
from diwan.store.database import Database
from diwan.store.entries import EntryDraft, Place, build_entry
from diwan.store.entry_index import catch_up
from diwan.store.entry_search import Wanted, search
from diwan.store.ledger_tree import grow, open_shard
from diwan.store.migrate import upgrade

TENANT = "bench"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("agent:model:called", "agent:tool:called", "event:event:consumed", "task:act:recorded", "case:step:moved")
_INSERT: LiteralString = (
    "INSERT INTO entry (tenant, chain, seq, hash, prev_hash, header, kind, at) VALUES "
    "(%(e_tenant)s, %(e_chain)s, %(e_seq)s, %(e_hash)s, %(e_prev_hash)s, %(e_header)s, %(e_kind)s, %(e_at)s)"
)
_SAME_TRANSACTION: LiteralString = """
CREATE SEQUENCE bench_place;
CREATE FUNCTION bench_index() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE h jsonb := convert_from(NEW.header, 'UTF8')::jsonb;
BEGIN
    INSERT INTO ledger_index VALUES (NEW.tenant, 'bench', nextval('bench_place'), NEW.chain, NEW.seq, NEW.at, NEW.kind,
        h->'actor'->>'subject', coalesce(h->>'case', h->'detail'->>'case', ''), coalesce(h->'detail'->>'tool', ''),
        coalesce(h->'model'->>'name', ''), coalesce(h->>'procedure_hash', ''),
        coalesce((h->'approval'->>'overridden')::boolean, false));
    RETURN NULL;
END $$;
CREATE TRIGGER bench_index AFTER INSERT ON entry FOR EACH ROW EXECUTE FUNCTION bench_index();
ALTER TABLE entry DISABLE TRIGGER bench_index;
"""


def entries(prefix: str) -> Iterator[dict[str, object]]:
    """Entries of cases of twenty each, as an agent and people write them."""
    n = 0
    while True:
        prev: bytes | None = None
        for seq in range(1, 21):
            kind = KINDS[(n * 7 + seq) % len(KINDS)]
            person = kind.startswith("task")
            who = Actor(
                kind=ActorKind.PERSON if person else ActorKind.AGENT,
                subject=f"clerk-{n % 200}" if person else "dossier-examiner",
                tenant=TENANT,
            )
            draft = EntryDraft(
                kind,
                who,
                detail={"tool": ("read_page", "list_documents")[seq % 2]} if "tool" in kind else {},
                model=EntryModel(name=f"model-{n % 3}", weights_digest="0" * 64) if "model" in kind else None,
                approval=EntryApproval(shown="0" * 64, decided="edited", overridden=n % 10 == 0) if person else None,
            )
            place = Place(*(TENANT, f"{prefix}/{n}", seq, prev, f"{prefix}-case-{n}", f"{n % 5:064d}", "examine", 1))
            built = build_entry(draft, place, BEGAN + timedelta(seconds=20 * n + seq))
            prev = built.hash
            yield built.parameters
        n += 1


def insert_cost(connection: psycopg.Connection[Any], rows: int, rounds: int) -> None:
    """Milliseconds an entry, each in a transaction of its own: as it is, and with its index row in it."""
    times: dict[str, list[float]] = {"as it is": [], "with its index row": []}
    for turn in range(rounds):
        for how, trigger in (("as it is", sql.SQL("DISABLE")), ("with its index row", sql.SQL("ENABLE"))):
            connection.execute(sql.SQL("ALTER TABLE entry {} TRIGGER bench_index").format(trigger))
            made = list(islice(entries(f"{how}{turn}"), rows))
            began = perf_counter()
            for values in made:
                with connection.transaction():
                    connection.execute(_INSERT, values)
            times[how].append((perf_counter() - began) / rows * 1000)
    connection.execute("ALTER TABLE entry DISABLE TRIGGER bench_index")
    connection.execute("TRUNCATE ledger_index")
    plain, indexed = (median(each) for each in times.values())
    say(f"an entry, as it is: {plain:.3f} ms; with its index row in the transaction: {indexed:.3f} ms")
    say(f"times: {indexed / plain:.2f}")


async def searches(server: EmbeddedPostgres, rows: int) -> None:
    web, sequencer = (
        Database.connect(server.url(role, "bench"), role=role) for role in ("diwan_web", "diwan_sequencer")
    )
    grown = 1
    while grown:
        async with sequencer.transaction(None) as conn:
            grown = (await grow(conn, await open_shard(conn, "bench"), at_most=10_000)).entries
    began = perf_counter()
    await catch_up(web, TENANT)
    took = perf_counter() - began
    say(f"taken into the index: {took:.1f} s for {rows:,} entries and more, {rows / took:,.0f} a second")
    asked: tuple[tuple[str, Wanted], ...] = (
        ("everything", Wanted()),
        ("a case", Wanted(cases=["all-case-7"])),
        ("a clerk", Wanted(actor="clerk-7")),
        ("a kind", Wanted(kind="task:act:recorded")),
        ("a model", Wanted(model="model-1")),
        ("a procedure's version", Wanted(procedures=[f"{3:064d}"])),
        ("overridden", Wanted(overridden=True)),
        (
            "a clerk who overrode, a day",
            Wanted(actor="clerk-10", overridden=True, since=BEGAN, until=BEGAN + timedelta(1)),
        ),
        ("nobody", Wanted(actor="nobody")),
    )
    for name, wanted in asked:
        times: list[float] = []
        found = 0
        for _ in range(5):
            began = perf_counter()
            async with web.transaction(TENANT) as conn:
                found = len((await search(conn, TENANT, wanted)).entries)
            times.append((perf_counter() - began) * 1000)
        say(f"{name}: {found} found, {median(times):.1f} ms")
    await web.dispose()
    await sequencer.dispose()


def main(rows: int) -> None:
    folder = Path(tempfile.mkdtemp())
    server = EmbeddedPostgres(folder / "server", secrets_dir=folder / "secrets", durable=False)
    try:
        server.start()
        with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench OWNER diwan_owner")
        upgrade(server.url("diwan_owner", "bench"))
        with psycopg.connect(server.url("postgres", "bench"), autocommit=True) as connection:
            connection.execute("SET diwan.tenant = 'bench'")
            connection.execute(_SAME_TRANSACTION)
            insert_cost(connection, 1_000, 5)
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(_INSERT, list(islice(entries("all"), rows)))
            connection.execute("ANALYZE")
        asyncio.run(searches(server, rows))
    finally:
        server.remove()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
