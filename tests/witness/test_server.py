"""The witness over HTTP, by the letter of c2sp.org/tlog-witness."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from diwan.ledger.checkpoint import Checkpoint, cosigned_at, parse_checkpoint
from diwan.ledger.note import new_key, parse_lines, parse_note, sign
from diwan.ledger.witnessed import MAX_REQUEST_BYTES, Growth
from diwan.witness.memory import Memory, initialise
from diwan.witness.server import create_app
from tests.ledger.logs import ORIGIN, MemoryLog
from tests.pool.serving import serving
from tests.witness.test_memory import LOG, OTHER, growth


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    initialise(tmp_path, "witness.example/1")
    made = Memory(tmp_path, lambda: datetime.now(UTC))
    made.follow(LOG.key.verifier)
    yield made
    made.close()


@pytest.fixture
async def http(memory: Memory) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(memory)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as made:
        yield made


async def test_a_checkpoint_is_cosigned_and_the_witness_says_so_to_monitors(
    http: httpx.AsyncClient, memory: Memory
) -> None:
    monitored = f"/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
    assert (await http.get(monitored)).status_code == 404
    answered = await http.post("/add-checkpoint", content=bytes(growth(0, 7)))
    assert answered.status_code == 200
    assert answered.text.startswith("— witness.example/1 ")
    assert answered.text.endswith("\n")
    note = LOG.checkpoint(7).with_lines(parse_lines(answered.content))
    assert abs((cosigned_at(note, memory.verifier) or 0) - datetime.now(UTC).timestamp()) < 60
    served = parse_note((await http.get(monitored)).content)
    assert served == note
    assert (await http.get(f"/{'0' * 64}/checkpoint")).status_code == 404
    assert (await http.get("/readyz")).status_code == 200


async def test_each_refusal_has_the_status_that_the_specification_gives_it(http: httpx.AsyncClient) -> None:
    await http.post("/add-checkpoint", content=bytes(growth(0, 30)))
    proof = growth(30, 35).proof
    empty = Checkpoint(ORIGIN, 0, hashlib.sha256(b"x").digest())
    refused: list[tuple[Growth, int]] = [
        (Growth(0, (), MemoryLog(new_key("other.example/2026")).checkpoint()), 404),
        (Growth(30, proof, sign(LOG.checkpoint(35).text, new_key(ORIGIN))), 403),
        (Growth(31, (), LOG.checkpoint(30)), 400),
        (growth(0, 35), 409),
        (growth(30, 35, OTHER), 422),
        (growth(30, 30, OTHER), 409),
        (Growth(30, proof, OTHER.checkpoint(30)), 422),
        (Growth(30, proof[1:], LOG.checkpoint(35)), 422),
        (Growth(0, (), sign(empty.text, LOG.key)), 422),
    ]
    for asked, status in refused:
        answered = await http.post("/add-checkpoint", content=bytes(asked))
        assert answered.status_code == status, answered.text
        if asked.old == 0 and status == 409:
            assert (answered.text, answered.headers["content-type"]) == ("30\n", "text/x.tlog.size")
    assert (await http.get("/add-checkpoint")).status_code == 405


MALFORMED = {
    "empty": b"",
    "no old size": bytes(growth(0, 7)).partition(b"\n")[2],
    "a leading zero": bytes(growth(5, 7)).replace(b"old 5", b"old 05"),
    "a negative size": bytes(growth(5, 7)).replace(b"old 5", b"old -5"),
    "a carriage return": bytes(growth(5, 7)).replace(b"old 5\n", b"old 5\r\n"),
    "a hash too short": bytes(growth(0, 7)).replace(b"old 0\n", b"old 0\n" + base64.b64encode(bytes(31)) + b"\n"),
    "too many hashes": bytes(growth(0, 7)).replace(b"old 0\n", b"old 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64),
    "no note": b"old 0\n\n",
    "a note that is no checkpoint": bytes(Growth(0, (), sign("no checkpoint\n", LOG.key))),
    "no signature": bytes(growth(0, 7)).rpartition("—".encode())[0],
    "not UTF-8": bytes(growth(0, 7)).replace("—".encode(), b"\xff"),
    "one line twice": bytes(growth(0, 7)) + str(LOG.checkpoint(7).signatures[0]).encode(),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_is_no_request_is_a_bad_one(http: httpx.AsyncClient, memory: Memory, what: str) -> None:
    assert (await http.post("/add-checkpoint", content=MALFORMED[what])).status_code == 400
    assert memory.followed()[0].size == 0


async def test_a_request_that_is_too_long_is_not_read(http: httpx.AsyncClient) -> None:
    answered = await http.post("/add-checkpoint", content=b"x" * (MAX_REQUEST_BYTES + 1))
    assert answered.status_code == 413


async def test_of_two_at_once_one_is_first_and_nothing_goes_back(http: httpx.AsyncClient, memory: Memory) -> None:
    """The race that the specification warns of: both begin where it left off, and the smaller may be written last."""
    for old in range(0, 35, 5):
        asked = [growth(old, size) for size in (old + 2, old + 5, old + 2, old + 5)]
        answers = await asyncio.gather(*(http.post("/add-checkpoint", content=bytes(each)) for each in asked))
        cosigned = [each for each, answer in zip(asked, answers, strict=True) if answer.status_code == 200]
        assert {answer.status_code for answer in answers} == {200, 409}
        (now,) = memory.followed()
        assert now.size == max(parse_checkpoint(each.note.text).size for each in cosigned)
        if now.size < old + 5:
            await http.post("/add-checkpoint", content=bytes(growth(now.size, old + 5)))


async def test_a_disk_that_is_full_delays_and_cosigns_nothing(
    http: httpx.AsyncClient, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as broken:
        broken.setattr("diwan.kept_notes.os.fsync", full)
        assert (await http.post("/add-checkpoint", content=bytes(growth(0, 7)))).status_code == 503
    assert memory.followed()[0].size == 0
    assert (await http.post("/add-checkpoint", content=bytes(growth(0, 7)))).status_code == 200


async def test_a_lost_memory_is_said_where_readiness_is_asked(http: httpx.AsyncClient, tmp_path: Path) -> None:
    await http.post("/add-checkpoint", content=bytes(growth(0, 7)))
    next((tmp_path / "seen").glob("*.note")).unlink()
    assert (await http.get("/readyz")).status_code == 500
    assert (await http.post("/add-checkpoint", content=bytes(growth(0, 7)))).status_code == 500
