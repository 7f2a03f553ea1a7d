"""A ministry's own closed and opened days count in every date that is fixed from then on; what was fixed stays."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from diwan.domain.event import PIECES_SUPPLIED
from diwan.domain.task import TaskAct
from diwan.store.database import Database
from diwan.store.tenants import put_tenant
from tests.activities.conftest import SETTINGS
from tests.activities.office import PIECES, Office
from tests.support.factories import CLERK, TENANT

SOME = {name: text for name, text in PIECES.items() if name != "sale_promise"}
MISSING = {"sale_promise": PIECES["sale_promise"]}


async def declare(office: Office, *, closed: tuple[date, ...] = (), opened: tuple[date, ...] = ()) -> None:
    settings = SETTINGS.model_copy(update={"closed_days": closed, "opened_days": opened})
    owner = Database.connect(office.database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    async with owner.transaction(TENANT) as conn:
        await put_tenant(conn, TENANT, settings.model_dump(mode="json"))
    await owner.dispose()


@pytest.fixture(autouse=True)
async def own_days(office: Office) -> AsyncGenerator[None]:
    yield
    await declare(office)


async def due_on(office: Office, case: str, period: str) -> date:
    return (await office.row(case)).state.periods[period].due_on


async def days(office: Office, case: str) -> list[date]:
    """The days on which the reminders of the case's step go out."""
    casablanca = ZoneInfo("Africa/Casablanca")
    reminders = (await office.row(case)).state.reminders
    return [each.due_at.astimezone(casablanca).date() for each in reminders if each.due_at]


async def test_a_new_case_counts_with_them_and_an_older_one_stays_as_it_was_told(office: Office) -> None:
    before = await office.reviewed("before-the-days")
    target = await due_on(office, before, "examination")
    assert target == date(2026, 12, 21), "a Monday, twenty working days on"
    await declare(office, closed=(date(2026, 12, 3), target), opened=(date(2026, 12, 5),))
    after = await office.reviewed("after-the-days")
    assert await due_on(office, after, "examination") == date(2026, 12, 22), "two days less, a Saturday more"
    assert await due_on(office, before, "examination") == target
    assert [await days(office, case) for case in (before, after)] == [
        [date(2026, 12, 16), date(2026, 12, 22)],
        [date(2026, 12, 16), date(2026, 12, 23)],
    ]


async def test_a_last_day_that_is_closed_moves_on_as_its_letter_says(office: Office) -> None:
    case = await office.open("rolls-on", SOME)
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await declare(office, closed=(date(2026, 12, 23), date(2026, 12, 24)))
    await office.perform(await office.here(case))
    assert await due_on(office, case, "pieces") == date(2026, 12, 25)
    assert (await office.letters(case))[-1].content["until"] == "2026-12-25"
    # What stood still is counted with the days of the moment at which it goes on.
    office.clock.now += timedelta(days=2)
    await office.tell(case, PIECES_SUPPLIED, MISSING)
    await office.drain(case)
    assert await due_on(office, case, "examination") == date(2026, 12, 25), "two working days still, two closed"
