"""The tree at a size: entries placed a second, one entry more, a proof, a checkpoint, bytes; and what verifying takes.

Entries are as the service writes them (`build_entry`), sealed bodies included, but put there by COPY: what writing one
costs is the other part of this bench.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, cast

import psycopg
from psycopg import sql

from bench.cases import TENANT
from bench.ledger.client import KEYS
from bench.say import say
from bench.server import DebianPostgres
from diwan.domain.actor import system
from diwan.domain.errors import Final
from diwan.ledger.checkpoint import Checkpoint
from diwan.ledger.verify import BadEntry, StoredEntry, check_form, check_link
from diwan.sequencer import Sequencer
from diwan.signer.memory import Memory
from diwan.signer.protocol import KeysAnswer
from diwan.store.database import Database
from diwan.store.entries import EntryDraft, Place, build_entry
from diwan.store.ledger_check import verify_tenant
from diwan.store.ledger_proofs import prove_entry
from diwan.store.ledger_tree_check import verify_tree
from diwan.vault.cipher import CaseCipher

ORIGIN = "ledger.example/bench"
CHAIN = 50  # entries of one chain, about those of a case
_TIMES = 20
_SAMPLE = 100_000  # entries that are held in memory at once

Check = Callable[[StoredEntry, StoredEntry | None], BadEntry | None]
_COLUMNS = ("tenant", "chain", "seq", "hash", "prev_hash", "header", "body_sealed", "kind", "at")
_TREE = ("ledger_leaf", "ledger_tile")


@dataclass(frozen=True)
class Grown:
    """What was measured with `size` entries there. Rates in entries a second, times in ms, sizes in bytes an entry."""

    size: int
    placed: float
    one_more_ms: float
    proof_ms: float
    checkpoint_ms: float
    tree_bytes: float
    entry_bytes: float
    hashes: float  # hash and link of each, all cores
    canonical: float  # the form of each header, all cores
    verify: float  # `diwan ledger verify`'s entries, bodies left closed
    verify_tree: float


class OwnSigner:
    """The signer's memory without its process: what it costs to ask is not measured."""

    def __init__(self, folder: Path) -> None:
        self.memory = Memory(folder, ORIGIN, lambda: datetime.now(UTC))

    async def keys(self) -> KeysAnswer:
        return KeysAnswer(keys=tuple(self.memory.keys()), retired=tuple(self.memory.retired()))

    async def last(self, origin: str) -> bytes | None:
        note = self.memory.last(origin)
        return None if note is None else bytes(note)

    async def sign(self, checkpoint: Checkpoint, proof: list[bytes]) -> bytes:
        return bytes(self.memory.sign(checkpoint, proof))


async def measure(postgres: DebianPostgres, template: str, folder: Path, size: int) -> Grown:
    """In a database of its own, a copy of `template`."""
    name = f"size_{size}"
    with postgres.superuser() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER diwan_owner").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    say(f"writing {size} entries")
    with postgres.superuser(name) as connection:
        _fill(connection, size)
    signer = OwnSigner(folder / name)
    async with _connected(postgres, name, "sequencer") as db, _connected(postgres, name, "auditor") as auditor:
        sequencer = Sequencer(db, signer, ORIGIN)
        began = time.monotonic()
        while await sequencer.grow_once():
            pass
        placed = size / (time.monotonic() - began)
        await sequencer.publish_once()
        one_more, checkpoint = await _grow_on(postgres, name, sequencer, size)
        proof_ms = await _prove(auditor, size)
        with postgres.superuser(name) as connection:
            tree_bytes, entry_bytes = (_bytes(connection, names) / size for names in (_TREE, ("entry",)))
            shares = _sample(connection)
        hashes, canonical = rate(check_link, shares), rate(lambda entry, _: check_form(entry), shares)
        verify, verify_of_tree = await _verify(auditor, size)
    signer.memory.close()
    found = Grown(
        *(size, placed, one_more, proof_ms, checkpoint, tree_bytes, entry_bytes),
        *(hashes, canonical, verify, verify_of_tree),
    )
    say(str(found))
    return found


@asynccontextmanager
async def _connected(postgres: DebianPostgres, name: str, role: str) -> AsyncGenerator[Database]:
    db = Database.connect(postgres.url(f"diwan_{role}", name), role=f"diwan_{role}")
    yield db
    await db.dispose()


def _fill(connection: psycopg.Connection[tuple[object, ...]], size: int, first: int = 0) -> None:
    """`size` entries on chains of their own; each transaction as many as its deferred triggers can hold in memory."""
    connection.execute(sql.SQL("SET diwan.tenant = {}").format(sql.Literal(TENANT)))
    for begin in range(first, first + size, 20_000):
        columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
        copy = sql.SQL("COPY entry ({}) FROM STDIN (FORMAT BINARY)").format(columns)
        with connection.transaction(), connection.cursor().copy(copy) as rows:
            rows.set_types(["text", "text", "int8", "bytea", "bytea", "bytea", "bytea", "text", "timestamptz"])
            for row in _entries(begin, min(begin + 20_000, first + size)):
                rows.write_row(row)
    connection.execute("ANALYZE")


def _entries(begin: int, end: int) -> Iterator[tuple[object, ...]]:
    actor, previous = system(TENANT, "bench"), None
    cipher = CaseCipher(TENANT, "bench", KEYS)
    for number in range(begin, end):
        chain, seq = f"bench/{number // CHAIN:08d}", number % CHAIN + 1
        previous = previous if seq > 1 else None
        draft = EntryDraft(
            "case:step:moved",
            actor,
            body={"reason": "The clerk asked for another reading of the same piece.", "facts": ["rooms"]},
            cipher=cipher,
            commitments={"state_before": b"a state", "state_after": b"another"},
            detail={"to": "review", "facts": 1},
        )
        built = build_entry(draft, Place(TENANT, chain, seq, previous), datetime.now(UTC))
        previous = built.hash
        yield tuple(built.parameters[f"e_{column}"] for column in _COLUMNS)


async def _grow_on(postgres: DebianPostgres, name: str, sequencer: Sequencer, size: int) -> tuple[float, float]:
    """Medians in ms: a pass that places one entry, and the checkpoint after it (its consistency proof with it)."""
    passes: list[float] = []
    checkpoints: list[float] = []
    for number in range(_TIMES):
        with postgres.superuser(name) as connection:
            _fill(connection, 1, first=-(-size // CHAIN) * CHAIN + number * CHAIN)
        began = time.monotonic()
        await sequencer.grow_once()
        grown = time.monotonic()
        await sequencer.publish_once()
        passes.append((grown - began) * 1000)
        checkpoints.append((time.monotonic() - grown) * 1000)
    return median(passes), median(checkpoints)


async def _prove(auditor: Database, size: int) -> float:
    taken: list[float] = []
    for number in range(_TIMES):
        of = size * number // _TIMES
        began = time.monotonic()
        async with auditor.transaction(TENANT, snapshot=True) as conn:
            await prove_entry(conn, TENANT, f"bench/{of // CHAIN:08d}", of % CHAIN + 1)
        taken.append((time.monotonic() - began) * 1000)
    return median(taken)


def _bytes(connection: psycopg.Connection[tuple[object, ...]], names: Sequence[str]) -> int:
    row = connection.execute(
        "SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(%s::text[]) AS name", [list(names)]
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def _sample(connection: psycopg.Connection[tuple[object, ...]]) -> list[list[StoredEntry]]:
    """Whole chains, at most so many entries as fit in memory, one share for each core."""
    chains: list[list[StoredEntry]] = []
    for row in connection.execute(_OF_SAMPLE, [_SAMPLE]):
        entry = StoredEntry(*cast("tuple[Any, ...]", row))
        if entry.seq == 1:
            chains.append([])
        chains[-1].append(entry)
    cores = os.cpu_count() or 1
    return [[entry for chain in chains[core::cores] for entry in chain] for core in range(cores)]


_OF_SAMPLE = (
    "SELECT tenant, chain, seq, hash, prev_hash, header, kind, at FROM entry ORDER BY tenant, chain, seq LIMIT %s"
)


def rate(check: Check, shares: Sequence[list[StoredEntry]]) -> float:
    """Entries a second, a process a core; they are forked with what they check, as a verifier reads its own."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_check_all, args=(check, share)) for share in shares]
    began = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds = time.monotonic() - began
    if any(process.exitcode for process in processes):
        raise Final("bench.does_not_hold", "The bench's own entries do not hold.")
    return sum(map(len, shares)) / seconds


def _check_all(check: Check, entries: Sequence[StoredEntry]) -> None:
    previous: StoredEntry | None = None
    for entry in entries:
        bad = check(entry, None if entry.seq == 1 else previous)
        if bad is not None:
            raise SystemExit(str(bad))
        previous = entry


async def _verify(auditor: Database, size: int) -> tuple[float, float]:
    """As `diwan ledger verify` does without the vault's token: entries a second of the chains, and of the tree."""
    async with auditor.transaction(TENANT, snapshot=True) as conn:
        began = time.monotonic()
        chains = await verify_tenant(conn, TENANT)
        done = time.monotonic()
        tree = await verify_tree(conn, TENANT)
        ended = time.monotonic()
    if chains.first_bad or tree.first_bad:
        raise Final("bench.does_not_hold", f"{chains.first_bad or tree.first_bad}")
    return size / (done - began), size / (ended - done)
