"""Rings the workflows of cases that have something unconsumed, and delivers the outbox to webhooks.

Both at least once: a ring may be lost or doubled without harm, a repeated delivery carries the same `webhook-id`.
Temporal or a receiver being down delays, never loses: what is not done stays due in Postgres.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import httpx
import orjson
import structlog
from standardwebhooks import Webhook
from structlog.contextvars import bound_contextvars
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from diwan import metrics
from diwan.domain.errors import DiwanError
from diwan.procedures.urgency import priority
from diwan.recovery import ring
from diwan.store import outbox
from diwan.store.database import Database
from diwan.store.doorbell import Bell, cases_to_ring, mark_rung
from diwan.store.outbox import OutboxRow
from diwan.store.tenants import WebhookRow, webhooks
from diwan.temporal import turn_of
from diwan.tracing import names, spans

log = structlog.get_logger()

Clock = Callable[[], datetime]

# Rings under way together.
_AT_ONCE = 16
# What Temporal refuses of one case (10,000 signals of a run, say); anything else it would refuse of the next one too.
_OF_THE_CASE = frozenset(
    {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.OUT_OF_RANGE}
)

# Seconds that a receiver of webhooks has to answer.
TIMEOUT_S = 15.0
_MOST_READ = 64 * 1024  # bytes of what a receiver says beside its status


class Doorbell:
    """Signal-with-start to workflow `tenant/case`."""

    def __init__(self, db: Database, client: Client, clock: Clock) -> None:
        self._db = db
        self._client = client
        self._clock = clock

    async def pass_once(self) -> int:
        """Rings every case that is due; returns how many. With Temporal away the others stay due as they are."""
        async with self._db.transaction(None) as conn:
            bells = await cases_to_ring(conn, self._clock())
        tried: list[Bell] = []
        for start in range(0, len(bells), _AT_ONCE):
            some = bells[start : start + _AT_ONCE]
            done = await asyncio.gather(*(self._ring(bell) for bell in some))
            tried += [bell for bell, was in zip(some, done, strict=True) if was]
            if not all(done):
                break
        if tried:
            async with self._db.transaction(None) as conn:
                for bell in sorted(tried, key=lambda bell: (bell.tenant, bell.case)):
                    await mark_rung(conn, bell, self._clock())
        return len(tried)

    async def _ring(self, bell: Bell) -> bool:
        """Whether Temporal answered. A case that it refuses is put off like one that was rung."""
        about = {names.TENANT: bell.tenant, names.CASE: bell.case, names.RINGS: bell.rings}
        with (
            bound_contextvars(tenant=bell.tenant, case=bell.case),
            spans.span("relay.ring", spans.PRODUCER, about, of=bell.traceparent) as work,
        ):
            refused = await self._refused(bell)
            if refused is not None:
                work.say({names.ERROR: refused.name})
                log.warning("relay.ring_failed", status=refused.name)
        metrics.RINGS.add(1, refused.name if refused is not None else "rung")
        return refused is None or refused in _OF_THE_CASE

    async def _refused(self, bell: Bell) -> RPCStatusCode | None:
        try:
            turn = turn_of(bell.tenant, priority(bell.rises, self._clock()), bell.weight)
            await ring(self._client, bell.tenant, bell.case, turn)
        except RPCError as error:
            return error.status
        return None


class Delivery:
    """POSTs what is due in the outbox to the tenants' webhooks, signed as Standard Webhooks say.

    `secret_of` gives a webhook's signing secret (`whsec_…`) by its name. A receiver has `TIMEOUT_S` to answer 2xx;
    otherwise the same event with the same `webhook-id` is tried again after 2, 4, 8 … seconds, up to an hour apart.
    """

    def __init__(self, db: Database, http: httpx.AsyncClient, secret_of: Callable[[str], str], clock: Clock) -> None:
        self._db = db
        self._http = http
        self._secret_of = secret_of
        self._clock = clock

    async def pass_once(self) -> int:
        """Tries every row that is due, each marked as being tried before it is; returns how many."""
        now = self._clock()
        async with self._db.transaction(None) as conn:
            hooks = {(hook.tenant, hook.id): hook for hook in await webhooks(conn)}
            rows = await outbox.due(conn, now=now)
            for row in rows:
                # Until then it is ours; if this process dies, another takes it up again.
                await outbox.postpone(conn, row, next_at=now + timedelta(seconds=TIMEOUT_S + _pause(row.attempts)))
        await asyncio.gather(*(self._deliver(row, hooks.get((row.tenant, row.webhook_id))) for row in rows))
        return len(rows)

    async def _deliver(self, row: OutboxRow, hook: WebhookRow | None) -> None:
        about = {
            **{names.TENANT: row.tenant, names.CASE: row.case_id or "", names.WEBHOOK: row.webhook_id},
            **{names.DELIVERY: row.id, names.ATTEMPT: row.attempts + 1, names.EVENT_TYPE: row.type},
        }
        with (
            bound_contextvars(tenant=row.tenant, case=row.case_id or ""),
            spans.span("outbox.deliver", spans.CLIENT, about, of=outbox.traceparent_of(row)) as work,
        ):
            await self._tried(row, hook, work)

    async def _tried(self, row: OutboxRow, hook: WebhookRow | None, work: spans.Work) -> None:
        status = await self._post(row, hook) if hook and hook.active else "no such webhook"
        if status.isdigit():
            work.say({names.STATUS: int(status)})
        if status.startswith("2"):
            metrics.DELIVERIES.add(1, "delivered")
            async with self._db.transaction(None) as conn:
                await outbox.delivered(conn, row, now=self._clock(), status=status)
            return
        failure = status.replace(" ", "_")
        work.say({names.ERROR: failure})
        metrics.DELIVERIES.add(1, failure)
        log.warning("outbox.not_delivered", webhook=row.webhook_id, id=row.id, status=status)
        async with self._db.transaction(None) as conn:
            await outbox.postpone(
                conn, row, next_at=self._clock() + timedelta(seconds=_pause(row.attempts)), status=status
            )

    async def _post(self, row: OutboxRow, hook: WebhookRow) -> str:
        """The HTTP status, or the name of what went wrong."""
        body = orjson.dumps(row.payload)
        now = self._clock()
        try:
            signature = Webhook(self._secret_of(hook.secret_name)).sign(row.id, now, body.decode())
            headers = {
                "content-type": "application/cloudevents+json",
                "accept-encoding": "identity",
                "webhook-id": row.id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": signature,
                **({"traceparent": passed_on} if (passed_on := spans.traceparent()) else {}),
            }
            async with (
                asyncio.timeout(TIMEOUT_S),  # also for one who answers a byte at a time
                self._http.stream("POST", hook.url, content=body, headers=headers, timeout=TIMEOUT_S) as answer,
            ):
                await _leave_nothing(answer)
                return str(answer.status_code)
        except (httpx.HTTPError, OSError, DiwanError) as error:
            return type(error).__name__


async def _leave_nothing(answer: httpx.Response) -> None:
    """Reads a short body, so that the connection serves again. What it says counts for nothing; none is unpacked."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        return
    read = 0
    async for chunk in answer.aiter_bytes():
        read += len(chunk)
        if read > _MOST_READ:
            return


def _pause(attempts: int) -> float:
    return min(3600.0, 2.0 ** min(attempts + 1, 12))


async def run_forever(
    name: str,
    once: Callable[[], Awaitable[int]],
    stop: asyncio.Event,
    *,
    idle_s: float,
    news: asyncio.Event | None = None,
) -> None:
    """Calls `once` until `stop`: at once again while there is work or `news`, else after `idle_s`."""
    failures = 0
    while not stop.is_set():
        if news is not None:
            news.clear()  # what comes from now on may be missed by this pass
        try:
            pause = 0.0 if await once() else idle_s
            failures = 0
        except Exception as error:
            failures += 1
            pause = min(30.0, idle_s * 2 ** min(failures, 8))
            log.warning("relay.pass_failed", part=name, error=type(error).__name__, failures=failures)
        if pause:
            await _any_of((stop,) if news is None else (stop, news), pause)


async def _any_of(events: tuple[asyncio.Event, ...], seconds: float) -> None:
    """Waits until one of `events` is set, for `seconds` at most."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
