"""Hosts of a pool in the tests' own process, beside real engines: what they compute is real, their words are ours.

Random weights end a run after three calls. So that runs are as long as real ones, each request goes to the engine as it
is, is computed there, and only the message that comes back is replaced: so many pages are asked for, then the run goes
to its end. What is measured, tokens that an engine had to compute, is the engine's own figure.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
import orjson

from activities.model import ModelActivities
from diwan.embedded.supervisor import Stack
from diwan.embedded.temporal import NAMESPACE
from diwan.pool.engine import EngineClient
from diwan.pool.gate import Gate
from diwan.pool.health import Health
from diwan.pool.wire import Answered, HttpWire
from diwan.store.database import Database
from diwan.temporal import connect
from diwan.vault.callers import read_token
from diwan.vault.client import VaultKeyring
from diwan.worker import pool_worker
from tests.vllm.server import Server, own_engine

ROOM = 4
SEED = 1
PAGE = 2_400  # characters
PAGES = 5  # tool calls of a run, one after the other
TOOL = "documents_read_page"
_COMPUTED = re.compile(r"^vllm:prefix_cache_(queries|hits)_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)
_RUNNING = re.compile(r"^vllm:num_requests_running\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


class LongRuns:
    """A real engine's wire: of what comes the message is replaced, but for the final answer.

    What goes is real but for two things. Each page begins with its run's name and is repeated up to a full page's
    length, for the runs of a test read the same short dossier and would share what cases of a ministry do not; `salt`
    keeps what one test computes from another's.
    """

    def __init__(self, servers: Sequence[Server], salt: str) -> None:
        """Of several servers each call goes to one at random."""
        self._wires = [HttpWire(server.url, connections=2 * ROOM) for server in servers]
        self._random = Random(SEED)  # noqa: S311 - a placement, no secret
        self._salt = salt

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str]
    ) -> AsyncGenerator[Answered]:
        request: dict[str, Any] = orjson.loads(content) if content else {}
        if "cache_salt" in request:
            request["cache_salt"] += self._salt
            run, _, _ = str(request.get("request_id", "")).rpartition("/")
            for message in request["messages"]:
                if message["role"] == "tool":
                    message["content"] = (f"{run} {message['content']} " * PAGE)[:PAGE]
            content = orjson.dumps(request)
        wire = self._random.choice(self._wires)
        async with wire.exchange(method, path, content, headers) as answered:
            body = b"".join([chunk async for chunk in answered.chunks])
            ours = request.get("tool_choice") == "auto"
            yield Answered(answered.status, _chunks(_rewritten(request, body) if ours else body))

    async def aclose(self) -> None:
        for wire in self._wires:
            await wire.aclose()


def _rewritten(request: dict[str, Any], body: bytes) -> bytes:
    answer: dict[str, Any] = orjson.loads(body)
    if "choices" not in answer:
        return body
    done = sum(message["role"] == "tool" for message in request["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": "I have read enough."}
    if done < PAGES:
        arguments = f'{{"document": "d{done % 3 + 1}", "page": 1}}'
        call = {"id": f"call-{done}", "type": "function", "function": {"name": TOOL, "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer["choices"][0] |= {"message": message, "finish_reason": "tool_calls" if done < PAGES else "stop"}
    return orjson.dumps(answer)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


@asynccontextmanager
async def hosts(stack: Stack, servers: Mapping[str, Server], *, salt: str, warm: bool = True) -> AsyncGenerator[None]:
    """A pool worker beside each server, by its name. Not `warm`: each call goes to any of the servers, at random."""
    vault = orjson.loads((stack.home.run / "stack.json").read_bytes())["vault_address"]
    stop = asyncio.Event()
    async with AsyncExitStack() as running_now:
        db = Database.connect(stack.database_url("diwan_pool"), role="diwan_pool", pool_size=2 * ROOM)
        keyring = VaultKeyring(vault, read_token(stack.home.secrets / "vault-token-pool"))
        running_now.push_async_callback(db.dispose)
        running_now.push_async_callback(keyring.aclose)
        for name, server in servers.items():
            own = own_engine(server)
            wire = LongRuns([server] if warm else [*servers.values()], salt)
            engine = EngineClient(server.url, room=ROOM, seconds=120, wire=wire)
            await running_now.enter_async_context(engine)
            model, gate = own.registry.model(own.model), Gate(ROOM)
            health = Health(engine, own.model, gate, most=ROOM)
            calls = ModelActivities(db, keyring, engine, model, _now, host=name if warm else "", health=health)
            client = await connect(stack.urls.temporal, NAMESPACE)
            worker = pool_worker(client, own.model, calls, host=name, gate=gate)
            await running_now.enter_async_context(worker)
            running_now.push_async_callback(_ended, asyncio.ensure_future(health.run(stop)))
            running_now.callback(stop.set)
        yield


async def _ended(watching: asyncio.Future[None]) -> None:
    await watching


def _now() -> datetime:
    return datetime.now(UTC)


async def computed(servers: Mapping[str, Server]) -> int:
    """Prompt tokens that these engines have computed so far: asked for, less found in their caches."""
    total = 0.0
    async with httpx.AsyncClient(trust_env=False) as http:
        for server in servers.values():
            told = (await http.get(f"{server.url}/metrics", timeout=30.0)).text
            found = {kind: float(value) for kind, value in _COMPUTED.findall(told)}
            assert found.keys() == {"queries", "hits"}, "the engine's figures have other names"
            total += found["queries"] - found["hits"]
    return round(total)


async def running(server: Server) -> int:
    """How many calls an engine has under way."""
    async with httpx.AsyncClient(trust_env=False) as http:
        told = (await http.get(f"{server.url}/metrics", timeout=30.0)).text
    return sum(int(float(value)) for value in _RUNNING.findall(told))
