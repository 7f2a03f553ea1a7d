"""Whoever is refused has a way on: no sequence of edits, returns and refusals leaves a case that nobody may decide.

The office is the smallest there is: one clerk, one supervisor, one authority.
"""

from __future__ import annotations

import json
import re

import httpx
import pytest

from diwan.domain.actor import Actor, Role
from diwan.domain.errors import Refused
from diwan.domain.task import TaskAct
from diwan.procedures.examples import example_text
from diwan.store.database import Database
from diwan.store.procedures import publish
from tests.activities.conftest import NOW
from tests.activities.office import Office, Wire
from tests.support.factories import AUTHORITY, CLERK, SUPERVISOR, TENANT, person


class Hasty(Wire):
    """Says at once, in other words than a tool's, that it has read enough; then gives its answer in due form."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.sent:
            return await super().handle_async_request(request)
        self.sent.append(await request.aread())
        message = {"role": "assistant", "content": '{"claims": [{"fact": "price", "val', "tool_calls": None}
        said = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(said).encode()))


ALSO_A_CLERK = person(AUTHORITY.subject, Role.CLERK, Role.AUTHORITY)


async def _refused(office: Office, actor: Actor, case: str) -> Refused:
    with pytest.raises(Refused) as refused:
        await office.act(actor, case, TaskAct.APPROVE)
    return refused.value


async def _does(office: Office, actor: Actor, case: str, act: TaskAct, to: str = "", **given: object) -> None:
    await office.act(actor, case, act, **given)
    assert (await office.drain(case)).step == (to or "review")


async def test_what_an_engine_of_nonsense_left_open_is_examined_anew(office: Office) -> None:
    """It read nothing and said so in good form: no piece is there. A clerk who went on all the same made an edit."""
    case = await office.open("nonsense")
    await office.perform(await office.here(case))
    plan = await office.examine(await office.here(case), Hasty(None))
    assert plan.step == "request_review"
    await _does(office, CLERK, case, TaskAct.REJECT, reason="Tout est là.")
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Lue.", changes={"permit_date": "2024-03-18"})
    for _ in range(2):
        refused = await _refused(office, SUPERVISOR, case)
        assert refused.code == "task.undetermined"
        assert "piece.sale_promise" in refused.remedy
        assert refused.remedy.endswith("Or return it with your reason.")
    await _does(office, SUPERVISOR, case, TaskAct.RETURN, "request_review", reason="Rien n'a été lu.")
    await _does(office, CLERK, case, TaskAct.RETURN, "examine", reason="Rien n'a été lu.")
    assert (await office.examine(await office.here(case))).step == "review"
    assert (await _refused(office, CLERK, case)).code == "task.four_eyes"
    await _does(office, SUPERVISOR, case, TaskAct.APPROVE, "sign")
    await _does(office, AUTHORITY, case, TaskAct.APPROVE, "decide")


async def test_who_puts_anothers_slip_right_takes_it_over(office: Office) -> None:
    case = await office.reviewed("slip")
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Lue.", changes={"permit_date": "2042-03-18"})
    await _does(office, SUPERVISOR, case, TaskAct.EDIT, reason="Lue.", changes={"permit_date": "2024-03-18"})
    refused = await _refused(office, SUPERVISOR, case)
    assert (refused.code, "clerk, supervisor" in refused.remedy) == ("task.four_eyes", True)
    await _does(office, CLERK, case, TaskAct.APPROVE, "sign")


async def test_where_all_have_edited_one_takes_over_what_the_other_changed(office: Office) -> None:
    case = await office.reviewed("all-edited")
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Lue.", changes={"permit_date": "2024-03-18"})
    await _does(office, SUPERVISOR, case, TaskAct.EDIT, reason="Lu.", changes={"price": 290_000, "rooms": 3})
    for again in (False, True):
        for editor in (CLERK, SUPERVISOR):
            assert "entered anew what you changed" in (await _refused(office, editor, case)).remedy
        if not again:  # not even a new examination frees them: what persons established is in it still
            await _does(office, CLERK, case, TaskAct.RETURN, "examine", reason="À relire.")
            await office.examine(await office.here(case))
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Vu.", changes={"price": 290_000})
    assert (await _refused(office, SUPERVISOR, case)).code == "task.four_eyes"  # the rooms are hers still
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Vu.", changes={"rooms": 3})
    await _does(office, SUPERVISOR, case, TaskAct.APPROVE, "sign")


async def test_a_result_that_was_set_is_whose_set_it_last(office: Office) -> None:
    case = await office.reviewed("result")
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Dérogation.", changes={"result": "granted", "amount": 5})
    await _does(office, SUPERVISOR, case, TaskAct.EDIT, reason="Moitié.", changes={"result": "granted", "amount": 3})
    assert (await _refused(office, SUPERVISOR, case)).code == "task.four_eyes"
    # An edit that does not set it again has the rules' own result: nothing of hers is in that.
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Lu.", changes={"price": 290_000})
    await _does(office, SUPERVISOR, case, TaskAct.APPROVE, "sign")


async def test_a_supervisor_has_the_task_of_an_only_clerk_who_edited(office: Office, worker: Database) -> None:
    """Also once it was sent back: a procedure may name clerks alone, and the clerk's edit is in it still."""
    text = example_text("direct-housing-aid").replace("roles: [clerk, supervisor]", "roles: [clerk]")
    analyst = person("analyst-1", Role.ANALYST)
    owner = Database.connect(office.database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    async with owner.transaction(TENANT) as conn:
        await publish(conn, TENANT, re.sub(r'version: "[0-9.]+"', 'version: "99.0"', text), analyst, now=NOW)
    await owner.dispose()
    case = await office.reviewed("only-clerk")
    await _does(office, CLERK, case, TaskAct.EDIT, reason="Lue.", changes={"permit_date": "2024-03-18"})
    await _does(office, SUPERVISOR, case, TaskAct.APPROVE, "sign")
    await _does(office, AUTHORITY, case, TaskAct.REJECT, reason="À revoir.")
    assert (await _refused(office, CLERK, case)).code == "task.four_eyes"
    await _does(office, SUPERVISOR, case, TaskAct.APPROVE, "sign")
    await _does(office, AUTHORITY, case, TaskAct.APPROVE, "decide")


async def test_an_only_authority_who_reviewed_signs_once_another_has_approved(office: Office) -> None:
    case = await office.reviewed("only-authority")
    await _does(office, ALSO_A_CLERK, case, TaskAct.REJECT, reason="À revoir.")
    await _does(office, ALSO_A_CLERK, case, TaskAct.APPROVE, "sign")
    refused = await _refused(office, ALSO_A_CLERK, case)
    assert (refused.code, "another person approve" in refused.remedy) == ("task.four_eyes", True)
    await _does(office, ALSO_A_CLERK, case, TaskAct.RETURN, reason="Que mon collègue l'examine.")
    await _does(office, CLERK, case, TaskAct.APPROVE, "sign")
    await _does(office, ALSO_A_CLERK, case, TaskAct.APPROVE, "decide")


async def test_a_grant_that_was_signed_meanwhile_is_found_by_another_examination(office: Office) -> None:
    first, second = await office.reviewed("granted-first"), await office.reviewed("granted-second")
    for case in (first, second):
        await _does(office, CLERK, case, TaskAct.APPROVE, "sign")
    await _does(office, AUTHORITY, first, TaskAct.APPROVE, "decide")
    await office.perform(await office.here(first))
    refused = await _refused(office, AUTHORITY, second)
    assert (refused.code, "who reviews it return it too" in refused.remedy) == ("task.register_changed", True)
    await _does(office, AUTHORITY, second, TaskAct.RETURN, reason="Déjà aidé ?")
    await _does(office, CLERK, second, TaskAct.RETURN, "examine", reason="Déjà aidé ?")
    await office.examine(await office.here(second))
    await _does(office, CLERK, second, TaskAct.APPROVE, "sign")
    await _does(office, AUTHORITY, second, TaskAct.APPROVE, "decide")
    await office.perform(await office.here(second))
    assert (await office.row(second)).state.result == "refused"
