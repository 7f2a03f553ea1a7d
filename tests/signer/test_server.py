"""The signer over HTTP: who may ask, what is answered, and how errors come through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from diwan.domain.errors import Conflict, InvalidInput, Tampered, Unavailable
from diwan.ledger.checkpoint import Checkpoint, open_checkpoint
from diwan.ledger.note import parse_note, parse_vkey
from diwan.ledger.tree import consistency_proof, root_at
from diwan.signer.client import SignerClient
from diwan.signer.memory import Memory
from diwan.signer.server import create_app
from tests.ledger.logs import MemoryLog
from tests.pool.serving import serving

BASE, TOKEN = "ledger.example/log", "a-token-of-the-sequencer"
NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
ORIGIN = f"{BASE}/2026"
LOG = MemoryLog()
LOG.add(*(f"entry {number}".encode() for number in range(300)))


def at(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_at(size, LOG.node(size).node))


def between(old: int, size: int) -> list[bytes]:
    return consistency_proof(old, size, LOG.node(size).node)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    memory = Memory(tmp_path / "signer", BASE, lambda: NOW)
    async with serving(create_app(memory, TOKEN)) as address:
        yield address
    memory.close()


@pytest.fixture
async def client(url: str) -> AsyncIterator[SignerClient]:
    made = SignerClient(url, TOKEN)
    yield made
    await made.aclose()


async def test_what_was_signed_last_and_the_next(client: SignerClient) -> None:
    await client.ready()
    assert await client.last(ORIGIN) is None
    note = await client.sign(at(299), between(0, 299))
    assert await client.last(ORIGIN) == note
    (vkey,) = (await client.keys()).keys
    assert open_checkpoint(parse_note(note), parse_vkey(vkey)) == at(299)
    assert await client.sign(at(300), between(299, 300)) != note


async def test_refusals_come_through_by_name(client: SignerClient) -> None:
    await client.sign(at(299), between(0, 299))
    with pytest.raises(Conflict) as error:
        await client.sign(at(7), [])
    assert error.value.code == "signer.went_back"
    with pytest.raises(Tampered) as error:
        await client.sign(at(300), [])
    assert error.value.code == "proof.not_consistent"


@pytest.mark.parametrize("token", ["another", TOKEN[:-1], "Bearer", "ü"])
async def test_nobody_else_is_answered(url: str, token: str) -> None:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        for method, path in (("POST", "/v1/checkpoints"), ("POST", "/v1/last"), ("GET", "/v1/keys")):
            answer = await http.request(method, path, content=b"{}")
            assert (answer.status_code, answer.json()["code"]) == (401, "signer.token_unknown")
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"origin": "a b", "size": 0, "root": "00"}',
        b'{"origin": "a", "size": -1, "root": "%b"}' % (b"0" * 64),
        b'{"origin": "a", "size": 1, "root": "%b", "more": 1}' % (b"0" * 64),
        b'{"origin": "a", "size": 1, "root": "%b", "proof": [%b]}'
        % (b"0" * 64, b",".join([b'"%b"' % (b"0" * 64)] * 65)),
        b"x" * 20_000,
    ],
)
async def test_what_is_no_request_is_refused_and_not_repeated(url: str, body: bytes) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False) as http:
        answer = await http.post("/v1/checkpoints", content=body)
    assert answer.status_code in (413, 422)
    assert "a b" not in answer.text


async def test_a_signer_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    away = SignerClient(str(tmp_path / "signer.sock"), TOKEN)
    for act in (away.ready(), away.keys(), away.last(ORIGIN)):
        with pytest.raises(Unavailable) as error:
            await act
        assert error.value.code == "signer.not_answering"
    await away.aclose()
    with pytest.raises(InvalidInput, match="signer's address"):
        SignerClient("http://10.0.0.1:80", TOKEN)
