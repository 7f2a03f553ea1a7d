"""Four eyes cannot be walked around: not by a second edit, not by a new examination, not by holding two roles."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from diwan.domain.actor import Actor, Role
from diwan.domain.errors import Refused
from diwan.domain.task import ActInput, TaskAct, TaskKind
from diwan.store import tasks
from diwan.store.acts import TaskView, act_on_task
from diwan.store.database import Database
from diwan.store.proposals import get_proposal
from diwan.store.tasks import TaskRow
from tests.store.conftest import Opened, ReviewOpened
from tests.support.factories import AUTHORITY, CLERK, OTHER_CLERK, SUPERVISOR, TENANT, person
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

CLERK_AND_AUTHORITY = person(AUTHORITY.subject, Role.CLERK, Role.AUTHORITY)


@pytest.fixture
def act(web: Database, keyring: MemoryKeyring, now: datetime) -> Any:
    async def acted(actor: Actor, task: TaskRow, what: TaskAct, **given: Any) -> TaskView:
        key = f"{actor.subject}-{what.value}-{task.digest}"
        given.setdefault("digest", task.digest)
        return await act_on_task(web, keyring, actor, task.id, what, ActInput(**given), key=key, now=now)

    return acted


async def read(web: Database, task_id: str) -> TaskRow:
    async with web.transaction(TENANT) as conn:
        return await tasks.get_task(conn, TENANT, task_id)


async def test_an_edit_by_another_does_not_free_the_first_editor(
    act: Any, web: Database, open_case: Opened, open_task: ReviewOpened
) -> None:
    task = await open_task(await open_case("two-editors"))
    await act(CLERK, task, TaskAct.EDIT, reason="Read.", changes={"price": 280_000})
    task = await read(web, task.id)
    await act(OTHER_CLERK, task, TaskAct.EDIT, reason="Read.", changes={"result": "granted", "amount": 70_000})
    task = await read(web, task.id)
    for editor in (CLERK, OTHER_CLERK):
        with pytest.raises(Refused, match="does not approve"):
            await act(editor, task, TaskAct.APPROVE)
    assert (await act(SUPERVISOR, task, TaskAct.APPROVE)).outcome == "approved"


async def test_who_reviewed_does_not_sign(act: Any, open_case: Opened, open_task: ReviewOpened) -> None:
    case = await open_case("two-roles")
    review = await open_task(case, roles=(Role.CLERK,))
    await act(CLERK_AND_AUTHORITY, review, TaskAct.APPROVE)
    signing = await open_task(case, TaskKind.SIGN, roles=(Role.AUTHORITY,), visit=2)
    with pytest.raises(Refused, match="does not sign"):
        await act(CLERK_AND_AUTHORITY, signing, TaskAct.APPROVE)


async def test_a_result_set_by_a_person_has_her_reason_as_its_ground(
    act: Any, web: Database, keyring: MemoryKeyring, open_case: Opened, open_task: ReviewOpened
) -> None:
    case = await open_case("stated")
    task = await open_task(case)
    changes = {"result": "granted", "amount": 50_000}
    await act(CLERK, task, TaskAct.EDIT, reason=" Half, by order 7-2026. ", changes=changes)
    task = await read(web, task.id)
    async with web.transaction(TENANT) as conn:
        made = await get_proposal(conn, TENANT, task.proposal_id, await keyring.cipher(TENANT, case))
    assessment = made.proposal.assessment
    assert (assessment.grounds, assessment.stated_ground) == ([], "Half, by order 7-2026.")
    assert made.proposal.editors == [CLERK.subject]
