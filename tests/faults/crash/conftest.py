"""A stack whose own processes run with fault points in them, and a receiver for its webhooks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from diwan.embedded import child
from diwan.embedded.bootstrap import TENANT, bootstrap
from diwan.embedded.parts import Options, Parts
from diwan.embedded.supervisor import Stack
from diwan.store.tenants import WebhookRow, put_webhook
from tests.faults.crash.people import PatientOffice, as_owner
from tests.faults.crash.points import Minefield
from tests.faults.evidence import Delivered
from tests.scenario.conftest import short_folder

HOOK = "register"
SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes for a signature").decode()


@asynccontextmanager
async def mined_office(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[PatientOffice, Minefield]]:
    """A stack, its people, and its fault points, not armed yet."""
    # A process that dies soon after its start is started again after a pause that grows; here all die often.
    monkeypatch.setattr(child, "_STABLE_S", 0.0)
    folder = short_folder()
    said: list[str] = []
    delivered: list[Delivered] = []
    options = Options(home=folder / "home", port=0, agent_patience_s=300, module="tests.faults.crash.launch")
    async with receiver(delivered) as url:

        async def prepare(parts: Parts) -> None:
            await bootstrap(parts, clock=lambda: datetime.now(UTC), say=said.append)
            await _subscribe(parts, url)

        stack = Stack(options, bootstrap=prepare, say=said.append)
        await stack.start()
        try:
            async with httpx.AsyncClient(timeout=60.0, trust_env=False) as http:
                yield PatientOffice(stack, http, delivered=delivered), Minefield(stack.home.path)
        finally:
            await stack.stop()
            shutil.rmtree(folder)


async def _subscribe(parts: Parts, url: str) -> None:
    secrets = parts.home.path / "webhooks"
    secrets.mkdir(mode=0o700)
    (secrets / HOOK).write_text(SECRET)
    async with as_owner(parts.postgres.url("diwan_owner")) as conn:
        await put_webhook(conn, TENANT, WebhookRow(TENANT, HOOK, url, HOOK, True))


@asynccontextmanager
async def receiver(log: list[Delivered]) -> AsyncGenerator[str]:
    """The address of a webhook's receiver that keeps what it gets and takes all of it."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # whoever sends may die over it
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
                body = await reader.readexactly(int(headers["content-length"]))
                log.append(Delivered(headers["webhook-id"], body.decode(), 204, _signed(body, headers)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()


def _signed(body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(SECRET).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True
