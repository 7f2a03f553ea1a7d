"""Tools that are not ours read the log: Tessera's fsck over HTTP, Go's note and tlog on checkpoints and proofs."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from diwan.domain.actor import Role
from diwan.ledger.checkpoint import parse_checkpoint
from diwan.ledger.note import parse_note
from diwan.ledger.tree import consistency_proof
from diwan.store.ledger_proofs import prove_entry
from diwan.store.ledger_tree import published, read_tree
from tests.oracles.programs import programs
from tests.pool.serving import serving
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT, person
from tests.support.growing import Grower, growing
from tests.web.conftest import Service

AUDITOR = person("auditor-1", Role.AUDITOR)


@pytest.fixture(scope="module")
async def log(settled: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(settled, tmp_path_factory.mktemp("signer")) as made:
        await made.grow(300)
        yield made


async def run(program: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(_run, program, arguments, given)


def _run(program: Path, arguments: tuple[str, ...], given: bytes) -> subprocess.CompletedProcess[bytes]:
    assert program.exists(), "Type: make oracles"
    return subprocess.run([program, *arguments], input=given, capture_output=True, check=False, timeout=30)


async def test_fsck_finds_the_log_whole_and_one_that_was_changed_not(
    service: Service, log: Grower, settled: TestDatabase, tmp_path: Path
):
    (vkey,) = log.memory.keys()
    key = tmp_path / "vkey"
    key.write_text(f"{vkey}\n")
    token = service.as_(AUDITOR)["Authorization"].removeprefix("Bearer ")

    async def fsck() -> subprocess.CompletedProcess[bytes]:
        async with serving(service.app) as url:
            arguments = (
                f"--storage_url={url}/ledger",
                f"--public_key={key}",
                f"--bearer_token={token}",
                "--ui=false",
                "--N=4",
            )
            return await run(programs().fsck, *arguments)

    done = await fsck()
    # It ends with 0 whatever it found.
    assert (done.returncode, b"failed" in done.stderr) == (0, False), done.stderr.decode()
    with settled.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("create table kept as select * from ledger_tile")
        connection.execute(
            "update ledger_tile set hashes = overlay(hashes placing sha256('x') from 4097) where idx = 0"
        )
    try:
        done = await fsck()
        assert b"fsck failed: failed: tile/0/000" in done.stderr
    finally:
        with settled.superuser() as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(
                "update ledger_tile t set hashes = k.hashes from kept k where k.level = t.level and k.idx = t.idx"
            )
            connection.execute("drop table kept")


async def test_gos_own_packages_check_our_proofs(service: Service, log: Grower, settled: TestDatabase):
    (vkey,) = log.memory.keys()
    for number in (1, 2, 256, 300):
        async with service.db.transaction(TENANT) as conn:
            proof = bytes(await prove_entry(conn, TENANT, "tests/web", number))
        done = await run(programs().logcheck, "record", vkey, given=proof)
        assert done.returncode == 0, done.stderr.decode()
        head, extra, rest = proof.partition(b"\nextra ")
        for spoilt in (proof.replace(b"\nindex ", b"\nindex 1"), head + extra + b"AA" + rest, proof[:-20]):
            assert (await run(programs().logcheck, "record", vkey, given=spoilt)).returncode == 1


async def test_gos_own_packages_see_that_a_log_only_grew(service: Service, log: Grower, tmp_path: Path):
    (vkey,) = log.memory.keys()
    notes: list[tuple[int, Path]] = []
    shard = ""
    for count in (0, 1, 255, 300):
        await log.grow(count)
        async with service.db.transaction(None) as conn:
            found = await published(conn)
        assert found is not None
        size = parse_checkpoint(parse_note(found.note).text).size
        notes.append((size, tmp_path / str(size)))
        notes[-1][1].write_bytes(found.note)
        shard = found.shard
    size, newest = notes[-1]
    for old, before in notes:
        async with service.db.transaction(None) as conn:
            hashes = await read_tree(conn, shard, size, lambda node, old=old: consistency_proof(old, size, node))
        said = [base64.b64encode(each).decode() for each in hashes]
        done = await run(programs().logcheck, "grown", vkey, str(before), str(newest), *said)
        assert done.returncode == 0, done.stderr.decode()
        if said:
            wrong = await run(programs().logcheck, "grown", vkey, str(before), str(newest), *said[1:])
            assert wrong.returncode == 1
