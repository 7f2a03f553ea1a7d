"""A signature: by an authority, under a delegation of the day that covers it, and never by who proposed."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from diwan.domain.actor import Role
from diwan.domain.case import Result
from diwan.domain.decision import Assessment
from diwan.domain.task import TaskAct, TaskKind
from diwan.store.acts import TaskView
from diwan.store.database import Database
from tests.store.conftest import GRANTED, Act, Opened, ReviewOpened, fails, refusals_of
from tests.support.databases import TestDatabase
from tests.support.factories import (
    AUTHORITY,
    CLERK,
    person,
)

pytestmark = pytest.mark.usefixtures("demo")


async def test_signing_needs_a_delegation_of_the_day(
    act: Act, web: Database, open_case: Opened, open_task: ReviewOpened, now: datetime
) -> None:
    case_id = await open_case("signed")
    task = await open_task(case_id, TaskKind.SIGN, roles=(Role.AUTHORITY,), proposer=CLERK.subject)
    for when in (now - timedelta(days=365), now + timedelta(days=60)):
        await fails("task.no_delegation", act(AUTHORITY, task, TaskAct.APPROVE, now=when))
    other = person("authority-2", Role.AUTHORITY)
    await fails("task.no_delegation", act(other, task, TaskAct.APPROVE))
    assert "task.no_delegation" in await refusals_of(web, other.subject)
    view: TaskView = await act(AUTHORITY, task, TaskAct.APPROVE)
    assert view.outcome == "approved"


@pytest.mark.parametrize(
    "assessment",
    [
        GRANTED.model_copy(update={"amount": 100_001}),
        GRANTED.model_copy(update={"result": Result.INADMISSIBLE}),
    ],
)
async def test_a_delegation_covers_its_results_and_amounts_only(
    act: Act, open_case: Opened, open_task: ReviewOpened, assessment: Assessment
) -> None:
    case_id = await open_case(f"beyond-{assessment.amount}-{assessment.result}")
    task = await open_task(case_id, TaskKind.SIGN, roles=(Role.AUTHORITY,), assessment=assessment)
    await fails("task.no_delegation", act(AUTHORITY, task, TaskAct.APPROVE))


async def test_a_revoked_delegation_or_one_for_another_procedure_is_none(
    act: Act, demo: TestDatabase, open_case: Opened, open_task: ReviewOpened, now: datetime
) -> None:
    signer = person("authority-3", Role.AUTHORITY)
    with demo.superuser() as connection:
        for id_, procedure, revoked in (("d-2", "other-procedure", None), ("d-3", "direct-housing-aid", now.date())):
            connection.execute(
                "insert into delegation values ('demo', %s, %s, %s, '{granted}', null, %s, %s, %s, 'r')",
                [id_, signer.subject, procedure, date(2026, 1, 1), date(2026, 12, 31), revoked],
            )
    task = await open_task(await open_case("revoked"), TaskKind.SIGN, roles=(Role.AUTHORITY,))
    await fails("task.no_delegation", act(signer, task, TaskAct.APPROVE))
    yesterday = now - timedelta(days=1)
    assert (await act(signer, task, TaskAct.APPROVE, now=yesterday)).outcome == "approved"


async def test_a_signature_is_an_authoritys_and_not_the_proposers(
    act: Act, open_case: Opened, open_task: ReviewOpened
) -> None:
    case_id = await open_case("signer")
    loose = await open_task(case_id, TaskKind.SIGN, roles=(Role.CLERK, Role.AUTHORITY))
    await fails("task.role_missing", act(CLERK, loose, TaskAct.APPROVE))
    await fails("task.act_not_possible", act(AUTHORITY, loose, TaskAct.EDIT, reason="r", changes={"rooms": 3}))
    own = await open_task(case_id, TaskKind.SIGN, roles=(Role.AUTHORITY,), proposer=AUTHORITY.subject, visit=2)
    await fails("task.four_eyes", act(AUTHORITY, own, TaskAct.APPROVE))
