"""`diwan ledger prove`, `verify-receipt`, `vkey` and `checkpoint`, as an auditor types them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import psycopg
import pytest

from diwan.ledger.note import new_key
from diwan.ledger.proof import parse_proof
from diwan.signer.server import create_app
from tests.cli.conftest import Diwan, DiwanProcess
from tests.cli.fake_service import Answer, FakeService
from tests.pool.serving import serving
from tests.support.databases import TestDatabase
from tests.support.growing import Grower, growing


@pytest.fixture(scope="module")
async def log(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(database, tmp_path_factory.mktemp("signer")) as made:
        await made.grow(5)
        yield made


@pytest.fixture
def policy(log: Grower, tmp_path: Path) -> Path:
    (vkey,) = log.memory.keys()
    path = tmp_path / "policy"
    path.write_text(f"# of the court of auditors\nlog {vkey}\nquorum none\n")
    return path


def test_an_entry_is_proved_and_its_proof_holds_with_nothing_else(
    diwan_process: DiwanProcess, database: TestDatabase, log: Grower, policy: Path, tmp_path: Path
) -> None:
    url = database.url("diwan_auditor")
    proof = tmp_path / "entry.tlog-proof"
    done = diwan_process("ledger", "prove", "tests/web/3", "-o", str(proof), DIWAN_DATABASE_URL_AUDITOR=url)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    printed = diwan_process("ledger", "prove", "tests/web/3", DIWAN_DATABASE_URL_AUDITOR=url)
    assert printed.stdout.encode() == proof.read_bytes()
    told = diwan_process("ledger", "prove", "tests/web/3", "--output", "json", DIWAN_DATABASE_URL_AUDITOR=url)
    assert json.loads(told.stdout)["index"] == parse_proof(proof.read_bytes()).index

    done = diwan_process("ledger", "verify-receipt", str(proof), "--policy", str(policy), "--output", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {"holds": True, "chain": "tests/web", "seq": 3, "kind": "tests:entry:written"}.items() <= said.items()

    other = tmp_path / "other"
    other.write_text(f"log {new_key('ledger.example/log/2026').verifier}\nquorum none\n")
    spoilt = tmp_path / "spoilt"
    spoilt.write_bytes(proof.read_bytes().replace(b"\nindex ", b"\nindex 1"))
    for file, trusted, says in ((proof, other, "No log of the policy"), (spoilt, policy, "not show")):
        done = diwan_process("ledger", "verify-receipt", str(file), "--policy", str(trusted))
        assert done.returncode == 1
        assert says in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("entry", "code", "says"),
    [
        ("tests/web/99", 3, "no such entry"),
        ("nothing/1", 3, "no such entry"),
        ("tests/web/x", 2, "CASE/NUMBER"),
        ("7", 2, "CASE/NUMBER"),
    ],
)
def test_what_is_no_entry_is_said(
    diwan_process: DiwanProcess, database: TestDatabase, log: Grower, entry: str, code: int, says: str
) -> None:
    done = diwan_process("ledger", "prove", entry, DIWAN_DATABASE_URL_AUDITOR=database.url("diwan_auditor"))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_an_entry_that_no_checkpoint_has_yet_wants_another_try(
    diwan_process: DiwanProcess, database: TestDatabase, log: Grower
) -> None:
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "insert into entry (tenant, chain, seq, hash, header, kind, at) "
            "select tenant, 'tests/late', 1, hash, header, kind, at from entry where chain = 'tests/web' and seq = 1"
        )
    done = diwan_process("ledger", "prove", "tests/late/1", DIWAN_DATABASE_URL_AUDITOR=database.url("diwan_auditor"))
    assert done.returncode == 75
    assert "No checkpoint has this entry yet" in done.stderr
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from entry where chain = 'tests/late'")


def test_verify_looks_at_the_tree_and_by_the_auditors_policy(
    diwan_process: DiwanProcess, database: TestDatabase, log: Grower, policy: Path, tmp_path: Path
) -> None:
    url = database.url("diwan_auditor")
    done = diwan_process(
        "ledger", "verify", "--policy", str(policy), "--output", "json", DIWAN_DATABASE_URL_AUDITOR=url
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["placed"], said["waiting"], said["leaves"], said["signed"], said["first_bad"]) == (5, 0, 5, 5, None)
    other = tmp_path / "other"
    other.write_text(f"log {new_key('ledger.example/log/2026').verifier}\nquorum none\n")
    done = diwan_process("ledger", "verify", "--policy", str(other), DIWAN_DATABASE_URL_AUDITOR=url)
    assert done.returncode == 1
    assert "No log of the policy" in done.stderr
    other.write_text("log nothing\n")
    done = diwan_process("ledger", "verify", "--policy", str(other), DIWAN_DATABASE_URL_AUDITOR=url)
    assert done.returncode == 2
    assert "Line 1 of the policy" in done.stderr


async def test_keys_are_the_signers(diwan_process: DiwanProcess, log: Grower) -> None:
    async with serving(create_app(log.memory, "a-token")) as url:
        signer = {"DIWAN_SIGNER_ADDRESS": url, "DIWAN_SIGNER_TOKEN": "a-token"}
        done = await asyncio.to_thread(diwan_process, "ledger", "vkey", **signer)
        assert (done.returncode, done.stdout.splitlines()) == (0, log.memory.keys())
        done = await asyncio.to_thread(diwan_process, "ledger", "vkey", "--output", "json", **signer)
        assert json.loads(done.stdout) == {"keys": log.memory.keys(), "retired": []}
        done = await asyncio.to_thread(diwan_process, "ledger", "vkey", **signer | {"DIWAN_SIGNER_TOKEN": "another"})
        assert done.returncode == 75, "the operator sets the right token, then it works"


def test_a_checkpoint_is_printed_as_it_was_signed(
    diwan_process: DiwanProcess, fake: FakeService, log: Grower, policy: Path
) -> None:
    (vkey,) = log.memory.keys()
    note = log.memory.last(vkey.partition("+")[0])
    assert note is not None
    fake.answers["GET /ledger/checkpoint"] = fake.answers["GET /ledger/2026/checkpoint"] = Answer(200, bytes(note))
    for arguments in ((), ("--shard", "2026"), ("--policy", str(policy))):
        done = diwan_process("ledger", "checkpoint", *arguments)
        assert (done.returncode, done.stdout.encode()) == (0, bytes(note)), done.stderr
    said = json.loads(diwan_process("ledger", "checkpoint", "--output", "json").stdout)
    assert (said["size"], said["note"]) == (5, bytes(note).decode())
    fake.answers["GET /ledger/checkpoint"] = Answer(200, bytes(note).replace(b"\n5\n", b"\n6\n"))
    done = diwan_process("ledger", "checkpoint", "--policy", str(policy))
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not verify" in done.stderr


def test_a_path_that_was_mistyped_says_nothing_of_a_bundle(diwan: Diwan, tmp_path: Path) -> None:
    """2, not the 1 of a bundle that does not hold."""
    there = tmp_path / "there"
    there.write_text("quorum none\n")
    for arguments in ((str(tmp_path / "none.zip"), str(there)), (str(there), str(tmp_path / "none.zip"))):
        done = diwan("ledger", "verify-bundle", arguments[0], "--policy", arguments[1])
        assert (done.exit_code, "none.zip: No such file" in done.output) == (2, True)
    done = diwan("ledger", "verify-bundle", str(there), "--policy", str(there))
    assert (done.exit_code, "does not hold" in done.output) == (1, True)
