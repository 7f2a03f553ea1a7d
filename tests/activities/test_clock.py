"""Where the clock jumped by a day no legal date falls until a person confirms; all other work goes on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from diwan.domain.case import Result
from diwan.domain.clock import Finding
from diwan.domain.errors import Conflict
from diwan.domain.event import APPLICATION_WITHDRAWN, PIECES_SUPPLIED
from diwan.domain.task import TaskAct, TaskKind
from diwan.store import clock_watch
from diwan.store.clock_watch import CHAIN, CLOCK_UNSURE, Standing
from diwan.store.doorbell import cases_to_ring
from diwan.store.entries import entries_of
from tests.activities.office import Office
from tests.support.clocks import watch_on
from tests.support.factories import AUTHORITY, CLERK, SUPERVISOR, TENANT

DAY = timedelta(days=1)
PAST = timedelta(seconds=1)


async def look(office: Office) -> Standing:
    async with office.worker.transaction(TENANT) as conn:
        return await watch_on(office.machine).look(conn, TENANT)


async def confirm(office: Office, finding: Finding) -> None:
    since = (await look(office)).frozen_at
    assert since is not None
    cipher = await office.keyring.cipher(TENANT, CHAIN)
    async with office.web.transaction(TENANT) as conn:
        await watch_on(office.machine, "web").confirm(conn, SUPERVISOR, finding, since, "Compared.", cipher)


async def on_record(office: Office) -> list[tuple[str, dict[str, Any]]]:
    async with office.worker.transaction(TENANT) as conn:
        return [(each.kind, json.loads(each.header)) for each in await entries_of(conn, TENANT, CHAIN)]


async def a_day_before_its_date(office: Office, reference: str) -> str:
    """A case at its review, its decision due in half a day, the clock watched until now."""
    case = await office.reviewed(reference)
    due = (await office.row(case)).state.periods["decision"].due_at
    office.clock.now = due - DAY / 2
    await office.wake(case)
    assert not (await look(office)).frozen
    return case


def rung(office: Office) -> Any:
    async def ring() -> set[str]:
        async with office.worker.transaction(TENANT) as conn:
            return {bell.case for bell in await cases_to_ring(conn, office.machine.wall())}

    return ring()


async def test_a_jump_of_a_day_lets_no_date_fall_until_a_person_confirms(office: Office) -> None:
    case = await a_day_before_its_date(office, "jump")
    office.machine.ahead = DAY
    plan = await office.wake(case)
    assert (plan.step, plan.wake_at) == ("review", None), "nothing to wait for"
    standing = await look(office)
    assert (standing.why, standing.off, standing.stands_at) == ("forward", DAY, office.clock.now)
    assert case not in await rung(office)
    office.machine.ahead = timedelta(0)
    await confirm(office, Finding.CORRECTED)
    assert (await office.wake(case)).step == "review", "the date is still to come"
    office.clock.now += DAY
    assert case in await rung(office)
    assert (await office.wake(case)).step == "closed"
    noticed, confirmed = (await on_record(office))[-2:]
    assert noticed[0] == "clock:jump:noticed"
    assert noticed[1]["detail"]["off_s"] == DAY.total_seconds()
    assert confirmed[0] == "clock:jump:confirmed"
    assert (confirmed[1]["actor"]["subject"], confirmed[1]["detail"]["finding"]) == (SUPERVISOR.subject, "corrected")


async def test_what_was_due_meanwhile_falls_in_order_once_the_clock_is_said_to_be_right(office: Office) -> None:
    case = await office.reviewed("right")
    assert not (await look(office)).frozen
    due = (await office.row(case)).state.periods["decision"].due_at
    office.machine.ahead = due - office.clock.now + PAST
    await office.wake(case)
    assert (await office.row(case)).state.flags == []
    await confirm(office, Finding.RIGHT)
    assert (await office.wake(case)).step == "closed"
    row = await office.row(case)
    assert row.state.result is Result.IMPLIED_REFUSAL
    assert row.state.flags == ["late.examination"], "the target, which came before, was noted first"
    fallen = [json.loads(each.header)["detail"] for each in await office.entries(case, "case:period:expired")]
    assert [each["result"] for each in fallen] == ["", "implied_refusal"]


async def test_case_work_goes_on_and_says_that_its_instants_are_unsure(office: Office) -> None:
    office.clock.now = datetime(2026, 8, 3, 9, 30, tzinfo=UTC)  # so that the delegation still holds at the end
    case = await a_day_before_its_date(office, "goes-on")
    office.machine.ahead = DAY
    assert (await look(office)).frozen
    await office.act(CLERK, case, TaskAct.APPROVE)
    assert (await office.drain(case)).step == "sign", "an act takes effect, though its instant is past the date"
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    assert (await office.drain(case)).step == "decide"
    await office.perform(await office.here(case))
    row = await office.row(case)
    assert (row.state.result, row.state.flags) == (Result.GRANTED, ["late.examination", CLOCK_UNSURE])
    new = await office.open("opened-meanwhile")
    assert (await office.row(new)).state.flags == [CLOCK_UNSURE]
    await office.tell(new, APPLICATION_WITHDRAWN)
    assert (await office.drain(new)).step == "withdrawal"
    async with office.web.transaction(TENANT) as conn:
        numbers = await clock_watch.unsure_cases(conn, TENANT)
        assert await clock_watch.frozen_ministries(conn) == 1
    assert {row.number, (await office.row(new)).number} <= set(numbers)


async def test_a_date_that_was_over_by_a_clock_still_trusted_falls_all_the_same(office: Office) -> None:
    """Temporal was down over the date; then the clock jumped. What came after the date does not win by that."""
    case = await office.reviewed("before")
    due = (await office.row(case)).state.periods["decision"].due_at
    office.clock.now = due + DAY
    await office.tell(case, APPLICATION_WITHDRAWN)
    assert not (await look(office)).frozen
    office.machine.ahead = DAY
    assert (await look(office)).frozen
    assert (await office.drain(case)).step == "closed"
    (late,) = await office.tasks(case, TaskKind.LATE_EVENT)
    assert late.live


async def test_steps_of_minutes_and_an_hour_of_summer_time_are_no_jump(office: Office) -> None:
    await look(office)
    for off in (timedelta(minutes=20), timedelta(hours=1), timedelta(hours=-1)):
        office.machine.ahead = off
        assert not (await look(office)).frozen


async def test_creeping_is_a_jump_too(office: Office) -> None:
    """Each step is small, and together they are a day."""
    await look(office)
    for _ in range(6):
        office.machine.ahead += timedelta(hours=1)
        await look(office)
    assert (await look(office)).why == "forward"


@pytest.mark.parametrize(
    ("ahead", "off_for", "why"),
    [
        (timedelta(0), timedelta(hours=64), ""),  # a weekend switched off
        (timedelta(0), timedelta(days=30), "gap"),
        (-DAY, timedelta(minutes=5), "behind"),  # the battery of its clock is empty
    ],
)
async def test_a_machine_that_starts_anew(office: Office, ahead: timedelta, off_for: timedelta, why: str) -> None:
    await look(office)
    office.clock.now += off_for
    office.machine.boot, office.machine.ahead = "boot-2", ahead
    assert (await look(office)).why == why


async def test_a_service_that_stood_still_on_a_machine_that_ran_needs_nobody(office: Office) -> None:
    await look(office)
    office.clock.now += timedelta(days=30)
    assert not (await look(office)).frozen


async def test_two_machines_that_differ_by_a_day_are_noticed_by_the_one_behind(office: Office) -> None:
    await look(office)
    office.machine.boot, office.machine.ahead = "another machine", DAY
    assert not (await look(office)).frozen, "alone it cannot know"
    office.machine.boot, office.machine.ahead = "boot-1", timedelta(0)
    standing = await look(office)
    assert (standing.why, standing.stands_at) == ("behind", office.clock.now)
    await confirm(office, Finding.CORRECTED)
    assert not (await look(office)).frozen


async def test_a_clock_that_is_not_corrected_cannot_be_said_to_be(office: Office) -> None:
    await look(office)
    office.machine.ahead = DAY
    with pytest.raises(Conflict) as caught:
        await confirm(office, Finding.CORRECTED)
    assert caught.value.code == "clock.not_corrected"
    assert (await look(office)).frozen


async def test_a_confirmation_is_of_the_freeze_that_was_shown(office: Office) -> None:
    await look(office)
    office.machine.ahead = DAY
    since = (await look(office)).frozen_at
    assert since is not None
    cipher = await office.keyring.cipher(TENANT, CHAIN)

    async def confirmed(shown: datetime) -> None:
        async with office.web.transaction(TENANT) as conn:
            await watch_on(office.machine).confirm(conn, SUPERVISOR, Finding.RIGHT, shown, "Right.", cipher)

    with pytest.raises(Conflict):
        await confirmed(since - PAST)
    await confirmed(since)
    with pytest.raises(Conflict):
        await confirmed(since)


async def test_a_machine_that_was_forgotten_when_the_clock_was_corrected_is_noticed_again(office: Office) -> None:
    await look(office)
    office.machine.boot = "worker-2"
    await look(office)
    office.machine.ahead = DAY  # worker-2's clock jumps
    assert (await look(office)).why == "forward"
    office.machine.boot, office.machine.ahead = "boot-1", timedelta(0)
    await confirm(office, Finding.CORRECTED)  # on boot-1, which was right all the time
    assert not (await look(office)).frozen
    office.machine.boot, office.machine.ahead = "worker-2", DAY
    assert (await look(office)).why == "forward"


async def test_the_case_worker_watches_for_every_ministry(office: Office) -> None:
    await clock_watch.watch_all(office.worker, watch_on(office.machine))
    office.machine.ahead = DAY
    await clock_watch.watch_all(office.worker, watch_on(office.machine))
    async with office.worker.transaction(None) as conn:
        assert await clock_watch.frozen_ministries(conn) == 1


async def test_pieces_that_come_while_dates_stand_still_are_taken(office: Office) -> None:
    case = await office.open("pieces", {})
    office.machine.ahead = -DAY
    await look(office)
    await office.tell(case, PIECES_SUPPLIED, {"identity_card": "CIN"})
    plan = await office.drain(case)
    assert plan.cursor == 2
