"""A ministry's export: complete, in clear where it may be, nobody else's, whole or not there, checked offline."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString, cast

import pytest
from psycopg import sql

from diwan.cli.tenant_export import check_files
from diwan.domain.actor import Actor, ActorKind
from diwan.domain.errors import Conflict, NotFound, Tampered
from diwan.domain.event import PIECES_SUPPLIED, DocumentRef, FollowUp
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.task import ActInput, TaskAct
from diwan.domain.text import Language
from diwan.exporting import BEGUN, ENDED, Export, Exported
from diwan.standalone.verify_bundle import verify
from diwan.store import tasks
from diwan.store.acts import act_on_task
from diwan.store.bundles import CaseFile
from diwan.store.database import Database
from diwan.store.entries import append_entry, entries_of
from diwan.store.exports import LEFT_OUT, SEALED, exported
from diwan.store.intake import accept_event, upload_document
from diwan.store.tables import metadata
from diwan.web.api.bundles import packed
from tests.store.conftest import NOW, Pools
from tests.store.whole_case import whole_case
from tests.support.databases import TestDatabase
from tests.support.factories import (
    AUDITOR,
    CLERK,
    SOURCE,
    TENANT,
    a_document,
    application,
    envelope,
    ministry,
    sender,
)
from tests.support.growing import Grower, growing
from tests.support.keyring import MemoryKeyring

Json = dict[str, Any]
OPERATOR = Actor(kind=ActorKind.PERSON, subject="operator-1", tenant=TENANT, authentication="operating system")
KEPT, GONE, STRAY, FOREIGN = "KEPT-Yy37-مزروع", "GONE-Yy37", "STRAY-Yy37", "FOREIGN-Yy37"


@dataclass(frozen=True)
class Ministry:
    """`kept` is a case with a row in every table, `gone` one whose keys are destroyed."""

    database: TestDatabase
    kept: str
    gone: str
    log: Grower


@pytest.fixture(scope="module")
async def ministries(
    demo: TestDatabase, pools: Pools, keyring: MemoryKeyring, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ministry]:
    """The ministry of the module with cases, an event and an upload of no case, and another ministry beside."""
    web, _, _ = pools
    with demo.superuser() as connection:
        connection.execute("insert into webhook values ('demo', 'hook', 'http://127.0.0.1:9/', 'hook', true)")
    kept = await whole_case(*pools, keyring, "kept", secret=KEPT, now=NOW)
    gone = await whole_case(*pools, keyring, "gone", secret=GONE, now=NOW)
    await keyring.destroy(TENANT, gone, [*RetentionClass], "0" * 64)
    for id_ in ("twice-1", "twice-2"):
        await accept_event(web, keyring, envelope(id_), application("twice"), [], client=sender(), now=NOW)
    await _of_no_case(web, keyring)
    await ministry(demo, now=NOW, tenant="other")
    foreign = application(FOREIGN, answers={"residence": FOREIGN})
    await accept_event(
        web, keyring, envelope(FOREIGN, tenant="other"), foreign, [], client=sender(tenant="other"), now=NOW
    )
    async with growing(demo, tmp_path_factory.mktemp("signer")) as log:
        await log.grow(1)
        await log.grow(1, tenant="other")
        yield Ministry(demo, kept, gone, log)


async def _of_no_case(web: Database, keyring: MemoryKeyring) -> None:
    """An event that matches no case, looked at by a clerk; a file that no event names; a search."""
    note = FollowUp(note=STRAY, documents=[DocumentRef(name=f"{STRAY}.txt", piece="identity_card", part="p")])
    where = envelope("stray", PIECES_SUPPLIED, subject="DW-2026-999999")
    await accept_event(web, keyring, where, note, [a_document(STRAY)], client=sender(), now=NOW)
    async with web.transaction(TENANT) as conn:
        task = await tasks.get_task(conn, TENANT, tasks.task_id_of(TENANT, "stray_event", SOURCE, "stray"))
    for act in (TaskAct.CLAIM, TaskAct.APPROVE):
        given = ActInput(digest=task.digest, reason=f"{act} {STRAY}")
        await act_on_task(web, keyring, CLERK, task.id, act, given, key=act.value, now=NOW)
    await upload_document(web, keyring, a_document(f"uploaded {STRAY}"), client=sender(), now=NOW)
    keys = "searches/2026-11"
    async with web.transaction(TENANT) as conn:
        await append_entry(
            conn,
            TENANT,
            "reads/auditor-1",
            "audit:entries:searched",
            AUDITOR,
            now=NOW,
            body={"person": STRAY},
            cipher=await keyring.cipher(TENANT, keys),
            detail={"keys": keys},
        )


@pytest.fixture
async def export(
    ministries: Ministry, keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Export]:
    """As the command makes it, of connections of the roles that it has; tables are read a few rows at a time."""
    monkeypatch.setattr("diwan.store.exports._BATCH", 2)
    database = ministries.database
    reads, writes = (
        Database.connect(database.url(role), role=role, pool_size=1) for role in ("diwan_auditor", "diwan_owner")
    )

    def pack(file: CaseFile, cipher: Cipher, told: dict[str, str]) -> bytes:
        return packed(file, cipher, told, {}, Language.FR)

    yield Export(reads, writes, keyring, OPERATOR, lambda: NOW, pack, "fr", "archive/7")
    await reads.dispose()
    await writes.dispose()


def lines(folder: Path, table: str) -> list[Json]:
    return [json.loads(line) for line in (folder / f"tables/{table}.jsonl").read_text(encoding="utf-8").splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def on_record(web: Database) -> list[Json]:
    async with web.transaction(TENANT) as conn:
        return [json.loads(each.header) for each in await entries_of(conn, TENANT, "exports/operator-1")]


# --- which tables -----------------------------------------------------------------------------------------------------


def test_every_table_is_exported_or_left_out_for_a_reason() -> None:
    """A new table: it is exported by itself; its sealed columns want a line each in `SEALED`."""
    assert {table.name for table in exported()} | LEFT_OUT.keys() == set(metadata.tables)
    assert all(reason.strip() for reason in LEFT_OUT.values())
    columns = {f"{t.name}.{c.name}" for t in exported() for c in t.columns if c.name.endswith("_sealed")}
    assert columns == SEALED.keys()
    left = {name for name in LEFT_OUT if "tenant" in metadata.tables[name].c}
    assert left == {"blob", "ledger_index", "ledger_index_reach"}, "of ministries"


# --- what is in it ----------------------------------------------------------------------------------------------------


async def test_all_of_a_ministry_is_there_and_nothing_of_another(
    export: Export, ministries: Ministry, web: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    told = await export.to(folder)
    assert not (tmp_path / "out.part").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    _is_complete(folder, ministries.database)
    _is_in_clear(folder, ministries)
    _has_its_files(folder, told)
    everything = b"".join(_contents(folder))
    assert b"GONE" not in everything
    assert KEPT.encode() in everything
    assert b"FOREIGN" not in everything
    begun, ended = (await on_record(web))[-2:]
    assert (begun["kind"], ended["kind"], ended["purpose"]) == (BEGUN, ENDED, "archive/7")
    assert ended["detail"]["digest"] == told.digest == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    assert ended["detail"]["cases"] == told.cases == 3
    _holds(folder, told, ministries, tmp_path)


def _is_complete(folder: Path, database: TestDatabase) -> None:
    """But for the entry that says that it has ended, and its place."""
    with database.superuser() as connection:
        for table in exported():
            counted = sql.SQL("SELECT count(*) FROM {} WHERE tenant = %s").format(sql.Identifier(table.name))
            row = connection.execute(counted, [TENANT]).fetchone()
            assert row is not None
            late = 1 if table.name in ("entry", "ledger_pending") else 0
            assert len(lines(folder, table.name)) == cast("int", row[0]) - late, table.name
            assert all(line["tenant"] == TENANT for line in lines(folder, table.name))


def _is_in_clear(folder: Path, ministries: Ministry) -> None:
    """Each sealed column of the one case, of events without a case and of the search; the other's say `erased`."""
    seen = set[str]()
    for table in exported():
        for line in lines(folder, table.name):
            sealed = [c.name for c in table.c if c.name.endswith("_sealed")]
            case = line.get("case_id") or (line.get("chain") if table.name == "entry" else None)
            missing = line.get("_sealed", {})
            if case == ministries.gone:
                assert set(missing.values()) <= {"erased"}
                assert all(line[name.removesuffix("_sealed")] is None for name in sealed)
                continue
            assert not missing, (table.name, line)
            seen |= {f"{table.name}.{name}" for name in sealed if line[name.removesuffix("_sealed")] is not None}
    assert seen == SEALED.keys()
    (party,) = [each for each in lines(folder, "party") if each["case_id"] == ministries.kept]
    assert party["party"]["address"] == KEPT
    events = {each["event_id"]: each["body"] for each in lines(folder, "inbox") if each["case_id"] is None}
    assert (events["stray"]["data"]["note"], events["twice-2"]) == (STRAY, {"repeats": "twice-1"})
    assert {each["reason"] for each in lines(folder, "task_act") if not each["case_id"]} == {f"approve {STRAY}"} | {
        f"claim {STRAY}"
    }
    (search,) = [each for each in lines(folder, "entry") if each["kind"] == "audit:entries:searched"]
    assert search["body"]["body"] == {"person": STRAY}


def _has_its_files(folder: Path, told: Exported) -> None:
    for table, start in (("document", "Certificat de "), ("letter", "%PDF ")):
        for line in lines(folder, table):
            if "_sealed" in line:
                assert line["_sealed"]["file"] == "erased"
            elif line["case_id"]:
                assert (folder / line["file"]).read_text(encoding="utf-8") == start + KEPT
    unfiled = {path.read_text(encoding="utf-8") for path in (folder / "unfiled/documents").iterdir()}
    assert unfiled == {STRAY, f"uploaded {STRAY}"}
    (procedure,) = lines(folder, "procedure_version")
    assert hashlib.sha256((folder / procedure["file"]).read_bytes()).hexdigest() == procedure["hash"]
    assert [path.read_bytes() for path in folder.glob("cases/*/histories/*")] == [b'{"events":[]}']
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["rows"] == dict(told.rows) == {t.name: len(lines(folder, t.name)) for t in exported()}
    assert (manifest["no_bundle"], manifest["unopened"]) == ({}, dict(told.unopened))
    assert told.unopened["erased"] > 10
    assert set(manifest["left_out"]) == LEFT_OUT.keys()
    for readme in ("README.md", "README.fr.md", "README.ar.md"):
        assert "SHA256SUMS" in (folder / readme).read_text(encoding="utf-8")


def _contents(folder: Path) -> list[bytes]:
    """Of all files, those within bundles too, with their names."""
    found: list[bytes] = []
    for path in folder.rglob("*"):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as bundle:
                found += [name.encode() + bundle.read(name) for name in bundle.namelist()]
        elif path.is_file():
            found += [str(path).encode(), path.read_bytes()]
    return found


def _holds(folder: Path, told: Exported, ministries: Ministry, tmp_path: Path) -> None:
    """Files and bundles, and the log's tiles, by programs that ask nobody."""
    assert len(check_files(folder, told.digest)) == told.files
    signers = ministries.log.memory.keys()
    (tmp_path / "policy").write_text("".join(f"log {vkey}\n" for vkey in signers) + "quorum none\n")
    bundles = list(folder.glob("cases/*/bundle.zip"))
    found = {verify(each, tmp_path / "policy").case for each in bundles}
    assert (len(found), found > {ministries.kept, ministries.gone}) == (3, True)
    (shard,) = (folder / "ledger").iterdir()
    size = int((shard / "checkpoint").read_text(encoding="utf-8").splitlines()[1])
    leaves = b"".join((shard / line).read_bytes() for line in [f"tile/0/000.p/{size}"])
    with ministries.database.superuser() as connection:
        hashes = connection.execute("SELECT hash FROM ledger_leaf ORDER BY idx").fetchall()
    assert leaves == b"".join(bytes(cast("bytes", row[0])) for row in hashes)[: size * 32]


# --- whole, or not there ----------------------------------------------------------------------------------------------


async def test_an_export_that_fails_leaves_nothing_but_its_entry(
    export: Export, ministries: Ministry, web: Database, tmp_path: Path
) -> None:
    def fails(file: CaseFile, cipher: Cipher, told: dict[str, str]) -> bytes:
        assert (tmp_path / "out.part/tables/party.jsonl").exists()
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        await replace(export, pack=fails).to(tmp_path / "out")
    assert names(tmp_path) == []
    assert (await on_record(web))[-1]["kind"] == BEGUN


async def test_nothing_is_read_that_is_not_on_the_ledger(export: Export, ministries: Ministry, tmp_path: Path) -> None:
    """The owner's right to write an entry is taken away: nothing is there, not for a moment."""
    await export.writes.dispose()
    refusing: LiteralString = "REVOKE INSERT ON entry FROM diwan_owner"
    with ministries.database.superuser() as connection:
        connection.execute(refusing)
    try:
        with pytest.raises(Exception, match="permission denied"):
            await export.to(tmp_path / "out")
    finally:
        with ministries.database.superuser() as connection:
            connection.execute("GRANT INSERT ON entry TO diwan_owner")
    assert names(tmp_path) == []


async def test_what_is_there_is_not_overwritten(export: Export, tmp_path: Path) -> None:
    for name in ("out", "next.part"):
        (tmp_path / name).mkdir()
    for name, code in (("out", "export.exists"), ("next", "export.unfinished")):
        with pytest.raises(Conflict) as error:
            await export.to(tmp_path / name)
        assert error.value.code == code
    assert names(tmp_path) == ["next.part", "out"]


# --- checked afterwards -----------------------------------------------------------------------------------------------


def test_a_file_that_was_changed_added_or_taken_away_is_named(tmp_path: Path) -> None:
    sums = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ("a", "b"))
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "SHA256SUMS").write_text(sums)
    digest = hashlib.sha256(sums.encode()).hexdigest()
    assert check_files(tmp_path, digest) == ["a", "b"]
    (tmp_path / "a").write_text("other")
    _differs(tmp_path, "export.file_differs")
    (tmp_path / "a").unlink()
    _differs(tmp_path, "export.files_differ")
    (tmp_path / "a").write_text("a")
    (tmp_path / "c").write_text("c")
    _differs(tmp_path, "export.files_differ")
    (tmp_path / "SHA256SUMS").write_text(sums + f"{hashlib.sha256(b'c').hexdigest()}  c\n")
    assert check_files(tmp_path) == ["a", "b", "c"]
    _differs(tmp_path, "export.digest_differs", digest)
    (tmp_path / "SHA256SUMS").write_text("nonsense\n")
    _differs(tmp_path, "export.sums_malformed")
    with pytest.raises(NotFound):
        check_files(tmp_path / "nowhere")


def _differs(folder: Path, code: str, digest: str = "") -> None:
    with pytest.raises(Tampered) as error:
        check_files(folder, digest)
    assert error.value.code == code
