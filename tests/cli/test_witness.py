"""`diwan witness` and what goes with it, as an outside party, an operator and an auditor type them; a stick between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from diwan.domain.errors import DiwanError, Refused
from diwan.ledger.checkpoint import Checkpoint, cosigned_at, parse_checkpoint
from diwan.ledger.note import Note, SigningKey, new_key, parse_note, parse_signing_key, parse_vkey
from diwan.ledger.policy import Policy, Witness
from diwan.ledger.tree import EMPTY_ROOT
from diwan.ledger.witnessed import Growth
from diwan.signer.server import create_app
from diwan.witness.memory import Memory
from tests.cli.conftest import Diwan, DiwanProcess
from tests.cli.fake_service import Answer, FakeService
from tests.ledger.logs import MemoryLog, cosigned, witness
from tests.pool.serving import serving
from tests.support.databases import TestDatabase
from tests.support.growing import ORIGIN, Grower, OwnSigner, growing

YEAR = str(datetime.now(UTC).year)


@pytest.fixture(scope="module")
async def log(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(database, tmp_path_factory.mktemp("signer")) as made:
        await made.grow(300)
        yield made


@pytest.fixture
def public(fake: FakeService, log: Grower, database: TestDatabase) -> Note:
    """The service's public addresses, with the log's newest checkpoint and tiles."""
    origin = log.memory.keys()[0].partition("+")[0]
    note = log.memory.last(origin)
    assert note is not None
    fake.answers["GET /ledger/checkpoint"] = Answer(200, bytes(note))
    with psycopg.connect(database.url("postgres")) as connection:
        rows = connection.execute("select level, idx, hashes from ledger_tile").fetchall()
    for level, index, hashes in rows:
        part = "" if len(hashes) == 8192 else f".p/{len(hashes) // 32}"
        fake.answers[f"GET /ledger/tile/{level}/{index:03d}{part}"] = Answer(200, bytes(hashes))
    return note


@pytest.fixture
def court(diwan: Diwan, log: Grower, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The verifier key of a witness that follows the log."""
    monkeypatch.setenv("DIWAN_WITNESS_DIR", str(tmp_path / "court"))
    made = diwan("witness", "init", "court.example/1")
    assert made.exit_code == 0, made.output
    assert diwan("witness", "follow", *log.memory.keys()).exit_code == 0
    return made.stdout.strip()


def brought(diwan: Diwan, folder: Path) -> Path:
    """Fetched, carried, signed, carried back."""
    for arguments in (
        ("witness", "request", "-o", str(folder / "request")),
        ("witness", "sign", str(folder / "request"), "-o", str(folder / "cosigned")),
    ):
        done = diwan(*arguments)
        assert done.exit_code == 0, done.output
    return folder / "cosigned"


async def stored(
    diwan_process: DiwanProcess, database: TestDatabase, log: Grower, file: Path, witnesses: str
) -> tuple[int, str]:
    policy = file.with_name("witnesses")
    policy.write_text(witnesses)
    async with serving(create_app(log.memory, "a-token")) as url:
        done = await asyncio.to_thread(
            diwan_process,
            *("ledger", "cosign", str(file), "--output", "json"),
            DIWAN_SIGNER_ADDRESS=url,
            DIWAN_SIGNER_TOKEN="a-token",
            DIWAN_LEDGER_WITNESSES=str(policy),
            DIWAN_DATABASE_URL_SEQUENCER=database.url("diwan_sequencer"),
        )
    return done.returncode, done.stdout or done.stderr


async def test_a_cosignature_travels_on_a_stick_and_counts(
    diwan: Diwan,
    diwan_process: DiwanProcess,
    database: TestDatabase,
    log: Grower,
    public: Note,
    court: str,
    tmp_path: Path,
) -> None:
    file = brought(diwan, tmp_path)
    code, said = await stored(diwan_process, database, log, file, f"witness court {court}\nquorum none\n")
    assert code == 0, said
    assert json.loads(said) == {"log": parse_checkpoint(public.text).origin, "size": 300, "cosigned": ["court"]}
    shown = diwan("witness", "show", "--output", "json").stdout
    assert [(each["size"], each["origin"][-4:]) for each in json.loads(shown)["logs"]] == [(300, YEAR)]

    policy, proof = tmp_path / "policy", tmp_path / "proof"
    policy.write_text(f"log {log.memory.keys()[0]}\nwitness court {court}\nquorum court\n")
    url = database.url("diwan_auditor")
    done = await asyncio.to_thread(
        diwan_process,
        *("ledger", "prove", "tests/web/3", "-o", str(proof), "--policy", str(policy)),
        DIWAN_DATABASE_URL_AUDITOR=url,
    )
    assert done.returncode == 0, done.stderr
    assert diwan("ledger", "verify-receipt", str(proof), "--policy", str(policy)).exit_code == 0
    policy.write_text(policy.read_text().replace(court, str(witness("court.example/1").verifier)))
    assert diwan("ledger", "verify-receipt", str(proof), "--policy", str(policy)).exit_code == 1
    done = await asyncio.to_thread(
        diwan_process,
        *("ledger", "prove", "tests/web/3", "--policy", str(policy)),
        DIWAN_DATABASE_URL_AUDITOR=url,
    )
    assert done.returncode == 75
    assert "satisfies your policy" in done.stderr


async def test_what_is_brought_back_must_be_of_this_log_and_by_a_witness_that_is_known(
    diwan: Diwan, log: Grower, public: Note, court: str, tmp_path: Path
) -> None:
    note = parse_note(brought(diwan, tmp_path).read_bytes())
    key = parse_signing_key((tmp_path / "court" / "key").read_text().strip())
    log_key = key_of(log)
    rewritten, thief = MemoryLog(log_key), MemoryLog(new_key(log_key.name))
    for each in (rewritten, thief):
        each.add(*(b"rewritten" for _ in range(7)))
    longer = MemoryLog(log_key)
    longer.add(*(b"more" for _ in range(400)))
    known, other = parse_vkey(court), witness("court.example/1").verifier
    tried = [
        (note, other, "ledger.no_such_witness"),
        (public, known, "ledger.no_such_witness"),
        (cosigned(rewritten.checkpoint(), key), known, "ledger.other_tree"),
        (cosigned(longer.checkpoint(), key), known, "ledger.other_tree"),
        (cosigned(thief.checkpoint(), key), known, "note.not_signed"),
        (note.with_lines([cosigned(rewritten.checkpoint(), key).signatures[1]]), known, "note.bad_signature"),
    ]
    for file, trusted, code in tried:
        with pytest.raises(DiwanError) as error:
            await log.keep(file, Policy((log_key.verifier,), (Witness("court", trusted),)))
        assert error.value.code == code
    await log.keep(note, Policy((log_key.verifier,), (Witness("court", known),)))


def key_of(log: Grower) -> SigningKey:
    return parse_signing_key(next(log.memory._keys.glob("*.key")).read_text().strip())


def test_growth_since_what_was_kept_is_proved_and_checked(
    diwan: Diwan, log: Grower, public: Note, tmp_path: Path, database: TestDatabase
) -> None:
    key = key_of(log)
    with psycopg.connect(database.url("postgres")) as connection:
        rows = connection.execute(
            "select e.header from ledger_leaf l join entry e using (tenant, chain, seq) order by idx"
        )
        ours = MemoryLog(key)
        ours.add(*(bytes(row[0]) for row in rows))
    kept, proof, policy = tmp_path / "kept", tmp_path / "proof", tmp_path / "policy"
    policy.write_text(f"log {key.verifier}\nquorum none\n")
    kept.write_bytes(bytes(ours.checkpoint(7)))
    assert diwan("ledger", "grown", str(kept), "-o", str(proof)).exit_code == 0
    assert diwan("ledger", "verify-grown", str(kept), str(proof), "--policy", str(policy)).exit_code == 0
    proof.write_bytes(proof.read_bytes().replace(b"old 7\n", b"old 7\n" + b"A" * 43 + b"=\n"))
    assert diwan("ledger", "verify-grown", str(kept), str(proof), "--policy", str(policy)).exit_code == 1
    rewritten = MemoryLog(key)
    rewritten.add(*(b"rewritten" for _ in range(7)))
    kept.write_bytes(bytes(rewritten.checkpoint()))
    assert diwan("ledger", "grown", str(kept), "-o", str(proof)).exit_code == 1
    kept.write_bytes(bytes(MemoryLog(new_key("other.example/2026")).checkpoint(0)))
    assert diwan("ledger", "verify-grown", str(kept), str(proof), "--policy", str(policy)).exit_code == 1


async def test_what_an_operator_is_told_after_a_theft_leaves_the_thief_no_witness(
    diwan: Diwan, diwan_process: DiwanProcess, court: str, tmp_path: Path
) -> None:
    """`diwan ledger vkey`, given whole to `diwan witness follow`: only the key that signs from now on counts then."""
    signer = OwnSigner(tmp_path / "signer")
    origin = f"{ORIGIN}/{YEAR}"
    signer.memory.sign(Checkpoint(origin, 0, EMPTY_ROOT), [])
    (secret,) = (tmp_path / "signer" / "keys").glob("*.key")
    thief = MemoryLog(parse_signing_key(secret.read_text().strip()))
    thief.add(b"forged")
    _, new = signer.memory.rotate(origin)
    async with serving(create_app(signer.memory, "a-token")) as url:
        where = {"DIWAN_SIGNER_ADDRESS": url, "DIWAN_SIGNER_TOKEN": "a-token"}
        printed = (await asyncio.to_thread(diwan_process, "ledger", "vkey", **where)).stdout.split()
        everything = await asyncio.to_thread(diwan_process, "ledger", "vkey", "--retired", **where)
        told = await asyncio.to_thread(diwan_process, "ledger", "vkey", "--output", "json", **where)
    signer.memory.close()
    assert diwan("witness", "follow", *printed).exit_code == 0
    with closing(Memory(tmp_path / "court", lambda: datetime.now(UTC))) as memory, pytest.raises(Refused):
        memory.add(Growth(0, (), thief.checkpoint()))
    assert printed == [new]
    assert json.loads(told.stdout) == {"keys": [new], "retired": [str(thief.key.verifier)]}
    assert everything.stdout.splitlines() == [f"{thief.key.verifier} retired", new]
    both = diwan("witness", "follow", str(thief.key.verifier), new)
    assert both.exit_code == 2
    assert "one key" in both.output


def test_a_checkpoint_says_who_has_cosigned_it(diwan: Diwan, fake: FakeService, public: Note, court: str) -> None:
    fake.answers["GET /ledger/witnessed"] = Answer(200, bytes(cosigned(public, witness("court.example/1"))))
    done = diwan("ledger", "checkpoint", "--witnessed", "--output", "json")
    assert json.loads(done.stdout)["cosigned"] == {"court.example/1": "2027-01-15T08:00:00+00:00"}
    assert "cosigned by nobody yet" in diwan("ledger", "checkpoint").output
    assert "cosigned by court.example/1" in diwan("ledger", "checkpoint", "--witnessed").output


@pytest.fixture
def demanded() -> SigningKey:
    return witness("court.example/1")


@pytest.fixture
def demanding(log: Grower, demanded: SigningKey, tmp_path: Path) -> Path:
    """The policy of an auditor who wants a witness's cosignature."""
    path = tmp_path / "policy"
    path.write_text(f"log {log.memory.keys()[0]}\nwitness court {demanded.verifier}\nquorum court\n")
    return path


def test_the_checkpoint_for_a_policy_with_a_quorum_is_the_newest_that_satisfies_it(
    diwan: Diwan,
    diwan_process: DiwanProcess,
    fake: FakeService,
    public: Note,
    demanding: Path,
    demanded: SigningKey,
) -> None:
    """The log grows twice a second, and witnesses are asked every other one: the newest is seldom cosigned yet."""
    other = witness("other.example/1")
    fake.answers["GET /ledger/witnessed"] = Answer(200, bytes(cosigned(public, demanded)))
    done = diwan_process("ledger", "checkpoint", "--policy", str(demanding))
    assert (done.returncode, done.stdout.encode()) == (0, bytes(cosigned(public, demanded))), done.stderr
    assert "cosigned by court, 2027-01-15" in done.stderr
    fake.answers["GET /ledger/checkpoint"] = Answer(200, bytes(cosigned(cosigned(public, other), demanded)))
    done = diwan_process("ledger", "checkpoint", "--policy", str(demanding))
    assert done.stdout.encode() == bytes(cosigned(cosigned(public, other), demanded)), "the newest is the best there is"
    fake.answers["GET /ledger/checkpoint"] = fake.answers["GET /ledger/witnessed"] = Answer(200, bytes(public))
    for more in ((), ("--witnessed",)):
        done = diwan_process("ledger", "checkpoint", "--policy", str(demanding), *more)
        assert (done.returncode, done.stdout) == (75, "")
        assert "satisfies your policy yet: court did not cosign" in done.stderr
        assert "Try again" in done.stderr
    fake.answers["GET /ledger/checkpoint"] = Answer(200, bytes(public).replace(b"\n300\n", b"\n301\n"))
    fake.answers["GET /ledger/witnessed"] = Answer(200, bytes(cosigned(public, demanded)))
    assert diwan("ledger", "checkpoint", "--policy", str(demanding)).exit_code == 1, "a wrong one is not passed over"


def test_growth_is_proved_to_a_checkpoint_that_satisfies_the_policy(
    diwan: Diwan, fake: FakeService, public: Note, demanding: Path, demanded: SigningKey, tmp_path: Path
) -> None:
    kept, proof = tmp_path / "kept", tmp_path / "proof"
    kept.write_bytes(bytes(cosigned(public, demanded)))
    assert diwan("ledger", "grown", str(kept), "-o", str(proof)).exit_code == 0
    done = diwan("ledger", "verify-grown", str(kept), str(proof), "--policy", str(demanding))
    assert done.exit_code == 1
    for words in ("court did not cosign", "--policy", "try again"):
        assert words in " ".join(done.output.split())
    fake.answers["GET /ledger/witnessed"] = Answer(200, kept.read_bytes())
    done = diwan("ledger", "grown", str(kept), "--policy", str(demanding), "-o", str(proof))
    assert done.exit_code == 0, done.output
    assert diwan("ledger", "verify-grown", str(kept), str(proof), "--policy", str(demanding)).exit_code == 0


def test_a_cosignature_that_found_no_place_can_be_had_again(
    diwan: Diwan, public: Note, court: str, tmp_path: Path
) -> None:
    """The witness remembers first, and writes the file afterwards: the path may be mistyped, or the stick full."""
    request, there = str(tmp_path / "request"), tmp_path / "there"
    assert diwan("witness", "request", "-o", request).exit_code == 0
    lost = diwan("witness", "sign", request, "-o", str(tmp_path / "missing" / "cosigned"))
    assert lost.exit_code == 2
    assert "missing" in lost.output
    done = diwan("witness", "sign", request, "-o", str(there))
    assert done.exit_code == 0, done.output
    note = parse_note(there.read_bytes())
    assert note.text == public.text
    assert cosigned_at(note, parse_vkey(court)) is not None
    assert diwan("witness", "sign", request, "-o", str(tmp_path / "again")).exit_code == 0
    assert (tmp_path / "again").read_bytes() == there.read_bytes()


def test_a_wrong_size_is_said_with_the_right_one(
    diwan: Diwan, log: Grower, public: Note, court: str, tmp_path: Path
) -> None:
    brought(diwan, tmp_path)
    longer = MemoryLog(key_of(log))
    longer.add(*(b"more" for _ in range(400)))
    (tmp_path / "request").write_bytes(bytes(Growth(0, (), longer.checkpoint())))
    again = diwan("witness", "sign", str(tmp_path / "request"), "-o", str(tmp_path / "again"))
    assert again.exit_code == 5
    assert "cosigned 300 entries" in again.output
    several = diwan("witness", "follow", court, str(new_key("other.example/2026").verifier))
    assert several.exit_code == 2
