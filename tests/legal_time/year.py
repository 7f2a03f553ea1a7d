"""The real workflows and activities on real Postgres, on the time of a server that skips what nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.testing import WorkflowEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.runs import RunActivities, RunSettings
from diwan.embedded.demo_engine.app import MODEL
from diwan.pool.gate import Gate
from diwan.relay import Doorbell
from diwan.store.change import CaseRow
from diwan.store.database import Database
from diwan.store.procedures import publish
from diwan.temporal import DATA_CONVERTER
from diwan.worker import case_worker, pool_worker
from tests.activities.office import HOST, Office, Wire
from tests.legal_time import server
from tests.support.factories import TENANT, person

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
_LOOKS = 1_500  # of a tenth of a second: a busy machine takes its time


class _OnServersTime(Interceptor):
    """Before each activity the office's clock is what the server says: activities have no other."""

    def __init__(self, tell: Callable[[], Any]) -> None:
        self._tell = tell

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        tell = self._tell

        class Told(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                await tell()
                return await self.next.execute_activity(input)

        return Told(next)


@dataclass
class Year:
    """`pass_` lets days go by in seconds; between its calls the server's time stands still."""

    office: Office
    environment: WorkflowEnvironment
    bell: Doorbell

    @classmethod
    @asynccontextmanager
    async def beginning(cls, office: Office, relay: Database) -> AsyncGenerator[Year]:
        environment = await WorkflowEnvironment.start_time_skipping(
            data_converter=DATA_CONVERTER,
            test_server_existing_path=str(server.program()),
            test_server_startup_timeout=timedelta(seconds=120),
        )
        async with environment:
            year = cls(office, environment, Doorbell(relay, environment.client, office.machine.wall))
            await year.tell_time()
            async with year._workers():
                yield year

    @asynccontextmanager
    async def _workers(self) -> AsyncGenerator[None]:
        office, client = self.office, self.environment.client
        clock = [_OnServersTime(self.tell_time)]
        settings = RunSettings(models_of=lambda _procedure, _capability, _language: [MODEL])
        runs = RunActivities(
            *(office.worker, office.keyring, office.readers, office.registers, settings, office.machine.wall)
        )
        async with (
            office.engine(Wire(None)) as engine,
            pool_worker(client, MODEL, engine, host=HOST, gate=Gate(1), interceptors=clock),
            case_worker(client, office.casework, runs, interceptors=clock),
        ):
            yield

    async def now(self) -> datetime:
        await self.tell_time()
        return self.office.clock.now

    async def tell_time(self) -> None:
        self.office.clock.now = await self.environment.get_current_time()

    async def pass_(self, **time: float) -> None:
        """Time goes by, the relay rings as it does."""
        await self.environment.sleep(timedelta(**time))
        await self.tell_time()
        await self.bell.pass_once()

    async def until(self, instant: datetime) -> None:
        await self.pass_(seconds=(instant - await self.now()).total_seconds())

    async def silently_until(self, instant: datetime) -> None:
        """Time goes by, and the relay cannot ring."""
        await self.environment.sleep(instant - await self.now())
        await self.tell_time()

    async def arrives(self, case: str, step: str, *, reminded: int = 0) -> CaseRow:
        """The case once it is at this step with nothing unconsumed and so many reminders of it gone out.

        Some seconds go by meanwhile, no days.
        """
        for look in range(_LOOKS):
            row = await self.office.row(case)
            sent = sum(reminder.sent_at is not None for reminder in row.state.reminders)
            if row.state.step == step and row.inbox_last == row.inbox_cursor and sent >= reminded:
                return row
            assert not row.blocked, f"blocked at {row.state.step}: {row.blocked}"
            if look % 10 == 9:
                await self.pass_(seconds=1)  # for whoever pauses between two tries
            await asyncio.sleep(0.1)
        raise AssertionError(f"{case} does not arrive at {step}")

    async def publish(self, text: str) -> None:
        async with self.office.web.transaction(TENANT) as conn:
            await publish(conn, TENANT, text, person("analyst-1"), now=await self.now())
