"""The outbox reaches its webhooks: signed, again until taken, under the same id, and nothing else is held up."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from diwan.domain.errors import NotFound
from diwan.relay import Delivery
from diwan.store.database import Database
from diwan.store.outbox import enqueue_outbox
from diwan.store.tenants import WebhookRow, put_webhook
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT, ministry

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": "diwan.case.closed",
    "subject": "DW-2026-000001",
    "data": {"result": "granted"},
}


class Receiver:
    """A webhook's receiver: answers with the next of `statuses`, then with 204; keeps what it got."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.answers: list[httpx.Response] = []
        self.got: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.got.append(request)
        if self.answers:
            return self.answers.pop(0)
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 0:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(status)


class Time:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def time(now: datetime) -> Time:
    return Time(now)


@pytest.fixture
async def delivery(
    database: TestDatabase, connect: Callable[[str], Database], receiver: Receiver, time: Time
) -> AsyncGenerator[Delivery]:
    await ministry(database, now=time.now)
    owner = Database.connect(database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    async with owner.transaction(TENANT) as conn:
        await put_webhook(conn, TENANT, WebhookRow(TENANT, "erp", "http://receiver.test/hook", "erp", True))
    await owner.dispose()

    def secret_of(name: str) -> str:
        if name != "erp":
            raise NotFound("webhook.no_secret", "There is no such webhook secret.")
        return SECRET

    async with httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as http:
        yield Delivery(connect("diwan_relay"), http, secret_of, time)


async def enqueue(worker: Database, key: str, now: datetime) -> str:
    async with worker.transaction(TENANT) as conn:
        (id_,) = await enqueue_outbox(conn, TENANT, None, EVENT["type"], EVENT, key=key, now=now)
    return id_


async def test_a_delivery_is_signed_and_made_once(
    delivery: Delivery, receiver: Receiver, worker: Database, time: Time
) -> None:
    id_ = await enqueue(worker, "once", time.now)
    assert await delivery.pass_once() == 1
    assert await delivery.pass_once() == 0
    (request,) = receiver.got
    assert request.headers["webhook-id"] == id_
    # The standard's own library checks the signature; the instant is the test's, so its age is not looked at.
    signed = Webhook(SECRET).sign(id_, time.now, request.content.decode())
    assert request.headers["webhook-signature"] == signed
    assert request.headers["webhook-timestamp"] == str(int(time.now.timestamp()))


@pytest.mark.parametrize("failure", [500, 404, 301, 0])
async def test_what_is_not_taken_is_sent_again_later_under_the_same_id(
    delivery: Delivery, receiver: Receiver, worker: Database, time: Time, failure: int
) -> None:
    id_ = await enqueue(worker, f"again-{failure}", time.now)
    receiver.statuses = [failure, failure]
    assert await delivery.pass_once() == 1
    assert await delivery.pass_once() == 0  # it rests first
    for _ in range(2):
        time.now += timedelta(minutes=1)
        assert await delivery.pass_once() == 1
    time.now += timedelta(days=1)
    assert await delivery.pass_once() == 0
    assert [request.headers["webhook-id"] for request in receiver.got] == [id_] * 3
    assert len({request.content for request in receiver.got}) == 1


@pytest.mark.parametrize("encoding", ["gzip, gzip", "identity"])
async def test_what_a_receiver_says_beside_its_status_is_not_unpacked_and_soon_not_read(
    delivery: Delivery, receiver: Receiver, worker: Database, time: Time, encoding: str
) -> None:
    read: list[int] = []

    async def endless() -> AsyncGenerator[bytes]:
        for _ in range(1000):
            read.append(4096)
            yield bytes(4096)

    await enqueue(worker, f"talkative-{encoding}", time.now)
    receiver.answers = [httpx.Response(200, headers={"content-encoding": encoding}, content=endless())]
    assert await delivery.pass_once() == 1
    assert await delivery.pass_once() == 0
    time.now += timedelta(days=1)
    assert await delivery.pass_once() == 0, "it was taken, whatever else was said"
    assert sum(read) <= 128 * 1024


async def test_a_relay_that_died_in_the_middle_is_followed_by_another(
    delivery: Delivery, receiver: Receiver, worker: Database, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await enqueue(worker, "died", time.now)

    async def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "_deliver", dies)
        with pytest.raises(RuntimeError):
            await delivery.pass_once()
    assert await delivery.pass_once() == 0  # still thought to be in the other's hands
    time.now += timedelta(minutes=1)
    assert await delivery.pass_once() == 1
    assert [request.headers["webhook-id"] for request in receiver.got] == [id_]
