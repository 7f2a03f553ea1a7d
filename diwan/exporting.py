"""The export of a ministry: all that Diwan keeps of it, in files that are read without Diwan (docs/export.md).

Everything is of one snapshot of the database. The ledger has an entry before anything is read, and one that names the
export's digest before it is there under its name. Memory holds one case at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import RowMapping, Table, text

import diwan
from diwan.documents.inspect import DocumentStatus
from diwan.domain.actor import Actor
from diwan.domain.errors import DiwanError, Refused, Tampered, Unavailable
from diwan.domain.ports import Cipher, Keyring, RetentionClass
from diwan.export_folder import Folder
from diwan.ledger.entry import HASH_BYTES, Scalar
from diwan.ledger.tiles import Tile, grown
from diwan.store.bundles import CaseFile, case_file
from diwan.store.cases import get_case
from diwan.store.change import CaseRow
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.entries import append_entry, subject_chain
from diwan.store.exports import LEFT_OUT, Opener, Unopened, cases, exported, of_cases, other_rows, rows_of_case
from diwan.store.histories import history_owner, inflated
from diwan.store.ledger_tree import published, shards, tiles
from diwan.store.tables import metadata
from diwan.store.tenants import settings_of

FORMAT = "diwan-export/1"
BEGUN, ENDED = "ministry:export:begun", "ministry:export:ended"
Pack = Callable[[CaseFile, Cipher, dict[str, str]], bytes]

_READMES = ("README.md", "README.fr.md", "README.ar.md")
_MOST_ENTRIES = 20_000  # of a bundle, whose proofs are made in memory
_TILES_AT_ONCE = 256
_ENDINGS = {"application/pdf": ".pdf", "image/jpeg": ".jpg", "image/png": ".png", "text/plain": ".txt"}
# A bundle is made between two statements, a long one for minutes.
_PATIENCE = text("SELECT set_config('idle_in_transaction_session_timeout', '1h', true)")


@dataclass(frozen=True, slots=True)
class Exported:
    """`digest` is that of SHA256SUMS, as it stands on the ledger; `rows` by table; `no_bundle` why cases have none."""

    folder: Path
    digest: str
    files: int
    rows: Mapping[str, int]
    cases: int
    no_bundle: Mapping[str, int]
    unopened: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Export:
    """`reads` is of the auditor's role, which writes nothing; `writes` of the owner's, for the ledger's entries.
    `pack` makes a case's bundle."""

    reads: Database
    writes: Database
    keyring: Keyring
    actor: Actor
    clock: Callable[[], datetime]
    pack: Pack
    language: str
    purpose: str

    async def to(self, folder: Path) -> Exported:
        """Raises `Conflict` where FOLDER is there, `NotFound` for no such ministry; then nothing is left of it."""
        tenant = self.actor.tenant
        with Folder(folder) as made:
            async with self.reads.transaction(tenant, snapshot=True) as conn:
                await settings_of(conn, tenant)
            await self._record(BEGUN, {})
            async with self.reads.transaction(tenant, snapshot=True) as conn:
                await conn.execute(_PATIENCE)
                work = _Work(self, conn, made)
                await work.all()
            digest = made.close_all()
            told = Exported(
                folder,
                digest,
                made.files,
                work.rows,
                work.cases,
                work.no_bundle,
                {str(why): count for why, count in work.opener.unopened.items()},
            )
            counts: dict[str, Scalar] = {"cases": told.cases, "entries": told.rows["entry"], "files": told.files}
            await self._record(ENDED, {"digest": digest, **counts, **told.unopened})
            await asyncio.to_thread(made.take_over)
        return told

    async def _record(self, kind: str, detail: Mapping[str, Scalar]) -> None:
        actor, now = self.actor, self.clock()
        chain = subject_chain("exports", actor.subject)
        async with self.writes.transaction(actor.tenant) as conn:
            await append_entry(conn, actor.tenant, chain, kind, actor, now=now, purpose=self.purpose, detail=detail)


@dataclass
class _Work:
    """What is read in the one snapshot, and written."""

    export: Export
    conn: Connection
    folder: Folder
    cases: int = 0
    no_bundle: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.tenant = self.export.actor.tenant
        self.opener = Opener(self.conn, self.export.keyring, self.tenant)
        self.rows = {table.name: 0 for table in exported()}
        self._began = self.export.clock().isoformat()

    async def all(self) -> None:
        for table in exported():
            self.folder.add(_table(table.name), b"")
        async for case in cases(self.conn, self.tenant):
            await self._case(await get_case(self.conn, self.tenant, case))
        for table in exported():
            if table.name != "case_file":
                async for row in other_rows(self.conn, table, self.tenant):
                    await self._row(table, row, "unfiled")
        await self._ledger()
        self._about()

    async def _case(self, case: CaseRow) -> None:
        place = f"cases/{_safe(case.number)}"
        for table in exported():
            if of_cases(table):
                for row in await rows_of_case(self.conn, table, self.tenant, case.id):
                    await self._row(table, row, place)
        without = await self._bundle(case, place)
        self._line("cases.jsonl", {"number": case.number, "id": case.id, "folder": place, "no_bundle": without})
        self.cases += 1

    async def _row(self, table: Table, row: RowMapping, place: str) -> None:
        """The row, and the file that it names."""
        told = await self.opener.opened(table, row)
        held = await self._held(table, row)
        if held is not None:
            name, content = held
            if isinstance(content, Unopened):
                told["_sealed"] = {**told.get("_sealed", {}), "file": content.value}
            else:
                told["file"] = name if table.name == "procedure_version" else f"{place}/{name}"
                self.folder.write(told["file"], content)
        self._line(_table(table.name), told)
        self.rows[table.name] += 1

    def _line(self, name: str, said: Any) -> None:
        self.folder.add(name, orjson.dumps(said, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))

    async def _held(self, table: Table, row: RowMapping) -> tuple[str, bytes | Unopened] | None:
        match table.name:
            case "procedure_version":
                return f"procedures/{_safe(row['name'])}/{_safe(row['version'])}.yaml", row["body"].encode()
            case "document":
                # A quarantined one gets a name that no program opens by itself.
                quarantined = row["status"] == DocumentStatus.QUARANTINED
                ending = ".quarantined" if quarantined else _ENDINGS.get(row["media_type"], ".bin")
                content = await self.opener.file(table, row, row["id"], RetentionClass.EVIDENCE)
                return f"documents/{_safe(row['id'])}{ending}", content
            case "letter":
                content = await self.opener.file(table, row, row["id"], RetentionClass.DECISION)
                return f"letters/{_short(row['id'])}.pdf", content
            case "workflow_run" if row["blob"]:
                content = await self.opener.file(table, row, history_owner(row["run_id"]), RetentionClass.DECISION)
                try:
                    content = content if isinstance(content, Unopened) else inflated(content, row["digest"])
                except Tampered:
                    content = self.opener.missed(Unopened.DOES_NOT_OPEN)
                return f"histories/{_safe(row['run_id'])}.json", content
            case _:
                return None

    async def _bundle(self, case: CaseRow, place: str) -> str:
        """Why there is none: its entries are in the tables all the same."""
        try:
            if case.version > _MOST_ENTRIES:
                raise Refused("ledger.case_too_long", f"A bundle holds at most {_MOST_ENTRIES} entries.", "")
            file = await case_file(self.conn, case)
            told = {"language": self.export.language, "made_by": self.export.actor.subject, "made_at": self._began}
            cipher = await self.opener.cipher(case.id)
            content = await asyncio.to_thread(self.export.pack, file, cipher, told)
        except Unavailable:
            raise
        except DiwanError as error:
            self.no_bundle[error.code] = self.no_bundle.get(error.code, 0) + 1
            return error.code
        self.folder.write(f"{place}/bundle.zip", content)
        return ""

    async def _ledger(self) -> None:
        """The logs of the service as c2sp.org/tlog-tiles has them: hashes, without the entries of other ministries."""
        for shard in await shards(self.conn):
            last = await published(self.conn, shard.name)
            if last is None:
                continue
            place = f"ledger/{_safe(shard.name)}"
            self.folder.write(f"{place}/checkpoint", last.note)
            waiting: list[Tile] = []
            for tile in grown(0, last.size):
                waiting.append(tile)
                if len(waiting) == _TILES_AT_ONCE:
                    await self._tiles(shard.name, place, waiting)
                    waiting = []
            await self._tiles(shard.name, place, waiting)
            for table in ("ledger_checkpoint", "ledger_cosigned"):
                await self._notes(table, shard.name, f"{place}/{table.removeprefix('ledger_')}s.jsonl")

    async def _tiles(self, shard: str, place: str, which: Iterable[Tile]) -> None:
        wanted = list(which)
        there = await tiles(self.conn, shard, [tile.full for tile in wanted])
        for tile in wanted:
            self.folder.write(f"{place}/{tile.path}", there[tile.full][: tile.width * HASH_BYTES])

    async def _notes(self, table: str, shard: str, name: str) -> None:
        which = metadata.tables[table]
        columns = f"SELECT * FROM {table} WHERE shard = :shard ORDER BY size"  # noqa: S608 - one of two names
        for row in (await self.conn.execute(text(columns), {"shard": shard})).mappings():
            self._line(name, await self.opener.opened(which, row))

    def _about(self) -> None:
        said = {
            **{"format": FORMAT, "tenant": self.tenant, "made_by": self.export.actor.subject, "made_at": self._began},
            **{"software": f"diwan {diwan.__version__}", "cases": self.cases, "rows": self.rows},
            **{"left_out": dict(LEFT_OUT), "no_bundle": self.no_bundle, "unopened": self.opener.unopened},
        }
        self.folder.write("manifest.json", (json.dumps(said, indent=1, ensure_ascii=False) + "\n").encode())
        kept = resources.files("diwan.standalone")
        for name in _READMES:
            self.folder.write(name, kept.joinpath("export", name).read_bytes())
        self.folder.write("verify_bundle.py", kept.joinpath("verify_bundle.py").read_bytes())


def _table(name: str) -> str:
    return f"tables/{name}.jsonl"


def _safe(name: str) -> str:
    """A name as part of a path; what would be none, or is long, by its hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}", name):
        return name
    return _short(name)


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
