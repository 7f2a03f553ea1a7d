"""Acts over HTTP: once for each key, bound to what was shown, refused on record."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import httpx
import pytest

from diwan.domain.actor import Actor, Role, agent, system
from diwan.domain.case import Result, StepKind
from diwan.domain.decision import Assessment, Proposal
from diwan.domain.facts import Fact, Provenance
from diwan.domain.task import TaskKind
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.proposals import make_proposal
from diwan.store.tasks import open_task, task_id_of
from tests.support.factories import AUTHORITY, CLERK, OTHER_CLERK, SOURCE, SUPERVISOR, TENANT, person
from tests.web.conftest import PDF, Service, an_event

SECRET = "Zoubida-4711"
AUDITOR = person("auditor-1", Role.AUDITOR)


async def review(service: Service, worker: Database, *, result: Result | None = Result.GRANTED) -> str:
    """A case whose proposal waits for a clerk; the task's id."""
    answer = await service.send(an_event())
    case = answer.json()["case"]
    cipher = await service.keyring.cipher(TENANT, case)
    fact = Fact(
        name="price",
        value=280000,
        provenance=Provenance.DECLARED,
        as_of=date(2026, 11, 23),
        established_by="form",
    )
    proposal = Proposal(
        proposer="examiner",
        assessment=Assessment(result=result, amount=100_000 if result else None),
        facts=[fact],
        summary=SECRET,
    )
    async with (
        worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, case, now=service.clock.now) as change,
    ):
        change.state.step, change.state.visit = "review", 1
        change.plan(StepKind.TASK, None)
        made = await make_proposal(conn, TENANT, case, proposal, cipher, now=service.clock.now)
        task = await open_task(
            change,
            cipher,
            kind=TaskKind.REVIEW,
            step="review",
            visit=1,
            shown={"proposal": proposal.model_dump(mode="json")},
            roles=[Role.CLERK],
            proposer="examiner",
            proposal_id=made.id,
        )
        change.record("case:step:moved", system(TENANT, "worker"))
    return task.id


async def act(
    service: Service, task: str, verb: str, actor: Actor = CLERK, *, key: str = "", **body: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await service.post(f"/v1/tasks/{task}/{verb}", actor, json=body, headers=headers)


async def digest_of(service: Service, task: str) -> str:
    return str((await service.get(f"/v1/tasks/{task}", CLERK)).json()["digest"])


async def test_a_task_shows_what_an_act_is_bound_to(service: Service, worker: Database):
    task = await review(service, worker)
    view = (await service.get(f"/v1/tasks/{task}", CLERK)).json()
    assert view["shown"]["proposal"]["summary"] == SECRET
    assert view["shown"]["salt"]
    assert view["number"].startswith("DW-2026-")
    assert (view["kind"], view["status"], view["roles"]) == ("review", "open", ["clerk"])


async def test_claim_then_approve(service: Service, worker: Database):
    task = await review(service, worker)
    claimed = await act(service, task, "claim")
    assert (claimed.status_code, claimed.json()["status"], claimed.json()["assignee"]) == (
        200,
        "claimed",
        CLERK.subject,
    )
    mine = (await service.get("/v1/tasks?mine=true", CLERK)).json()["items"]
    assert task in [each["id"] for each in mine]
    assert (await service.get("/v1/tasks?mine=true", OTHER_CLERK)).json()["items"] == []
    done = await act(service, task, "approve", key="k1", digest=await digest_of(service, task))
    assert (done.status_code, done.json()["status"], done.json()["outcome"]) == (200, "completed", "approved"), (
        done.text
    )
    assert done.json()["number"].startswith("DW-")
    case = (await service.get(f"/v1/cases/{done.json()['case']}/events", CLERK)).json()["items"]
    assert [(each["source"], each["type"]) for each in case][1:] == [("task", "diwan.task.completed")]


async def test_the_same_key_gives_the_same_answer_however_often_and_at_once(service: Service, worker: Database):
    task = await review(service, worker)
    digest = await digest_of(service, task)
    answers = await asyncio.gather(*(act(service, task, "approve", key="k1", digest=digest) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert service.count("task_act", task_id=task) == 1
    other = await act(service, task, "return", key="k1", digest=digest, reason="no")
    assert (other.status_code, other.json()["code"]) == (409, "task.key_used")


@pytest.mark.parametrize("verb", ["approve", "edit", "reject", "return"])
@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_an_act_that_completes_needs_a_key(service: Service, worker: Database, verb: str, key: str):
    task = await review(service, worker)
    answer = await act(service, task, verb, key=key, digest="x", reason="y")
    assert (answer.status_code, answer.json()["code"]) in [(422, "task.key_missing"), (422, "http.parameter_invalid")]
    assert "Idempotency-Key" in answer.text


@pytest.mark.parametrize(
    ("verb", "actor", "body", "status", "code"),
    [
        ("approve", CLERK, {"digest": "0" * 64}, 409, "task.shown_digest_differs"),
        ("approve", CLERK, {}, 409, "task.shown_digest_differs"),
        ("approve", AUTHORITY, {"digest": "@"}, 403, "task.role_missing"),
        ("reject", CLERK, {"digest": "@"}, 422, "task.reason_required"),
        ("edit", CLERK, {"digest": "@", "reason": SECRET, "changes": {SECRET: 1}}, 422, "task.change_unknown"),
        ("edit", CLERK, {"digest": "@", "reason": "x" * 5000}, 422, "http.body_invalid"),
        ("edit", CLERK, {"digest": "@", SECRET: "x"}, 422, "http.body_invalid"),
        ("sign", CLERK, {"digest": "@"}, 422, "http.parameter_invalid"),
        ("release", CLERK, {}, 409, "task.not_claimed"),
    ],
)
async def test_an_act_that_may_not_be_is_refused(
    service: Service, worker: Database, verb: str, actor: Actor, body: dict[str, Any], status: int, code: str
):
    task = await review(service, worker)
    if body.get("digest") == "@":
        body = body | {"digest": await digest_of(service, task)}
    before = service.count("entry", kind="task:act:refused")
    again = service.count("entry", kind="api:request:refused")
    answer = await act(service, task, verb, actor, key="k", **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["remedy"]
    assert SECRET not in answer.text
    recorded = 1 if status in (403, 409) else 0
    assert service.count("entry", kind="task:act:refused") == before + recorded
    assert service.count("entry", kind="api:request:refused") == again


async def test_who_edits_does_not_approve(service: Service, worker: Database):
    task = await review(service, worker)
    edited = await act(
        service, task, "edit", key="k1", digest=await digest_of(service, task), reason="Lu", changes={"price": 350000}
    )
    assert (edited.status_code, edited.json()["proposer"]) == (200, CLERK.subject), edited.text
    digest = edited.json()["digest"]
    refused = await act(service, task, "approve", key="k2", digest=digest)
    assert (refused.status_code, refused.json()["code"]) in [(403, "task.four_eyes"), (403, "task.undetermined")]


async def test_an_undetermined_assessment_says_what_to_set(service: Service, worker: Database):
    task = await review(service, worker, result=None)
    answer = await act(service, task, "approve", OTHER_CLERK, key="k1", digest=await digest_of(service, task))
    assert (answer.status_code, answer.json()["code"]) == (403, "task.undetermined")
    assert "set" in answer.json()["remedy"]


async def test_the_worklist_is_filtered(service: Service, worker: Database):
    task = await review(service, worker)
    view = (await service.get(f"/v1/tasks/{task}", CLERK)).json()

    async def ids(actor: Actor, **params: Any) -> list[str]:
        answer = await service.get("/v1/tasks", actor, params=params)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["items"]]

    assert await ids(CLERK, case=view["number"]) == [task]
    assert await ids(CLERK, case=view["case"], kind="review", status="open") == [task]
    assert await ids(CLERK, case=view["case"], kind="sign") == []
    assert await ids(CLERK, case=view["case"], status="completed") == []
    assert await ids(AUTHORITY, case=view["case"]) == []
    assert await ids(SUPERVISOR, case=view["case"]) == await ids(AUDITOR, case=view["case"]) == [task]
    await act(service, task, "approve", key="k", digest=view["digest"])
    assert await ids(CLERK, case=view["case"]) == []
    assert await ids(CLERK, case=view["case"], status="completed") == [task]
    assert (await service.get("/v1/tasks?case=none", CLERK)).status_code == 404


async def test_the_worklist_goes_page_by_page(service: Service, worker: Database):
    for _ in range(3):
        await review(service, worker)
    all_ = [each["id"] for each in (await service.get("/v1/tasks?limit=200", CLERK)).json()["items"]]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await service.get("/v1/tasks", CLERK, params={"limit": 1, "cursor": cursor})).json()
        seen += [each["id"] for each in page["items"]]
        if not (cursor := page["next"] or ""):
            break
    assert seen == all_


async def test_another_ministrys_task_is_not_there(service: Service, worker: Database):
    task = await review(service, worker)
    abroad = person("clerk-1", Role.CLERK, tenant="elsewhere")
    assert (await service.get(f"/v1/tasks/{task}", abroad)).status_code == 404
    assert (await act(service, task, "claim", abroad)).status_code == 404


async def test_an_agent_has_no_hands(service: Service, worker: Database):
    task = await review(service, worker)
    answer = await act(service, task, "approve", agent(TENANT, "examiner"), key="k", digest="x")
    assert answer.status_code == 403


async def stray(service: Service) -> tuple[str, dict[str, Any]]:
    """A follow-up that matches no case, with one document that is taken and one in quarantine; its task."""
    event = an_event(type="diwan.pieces.supplied", subject="DW-1999-000001")
    documents = [{"name": "promesse.pdf", "part": "a", "piece": "sale_promise"}, {"name": "x.exe", "part": "b"}]
    event["data"] = {"note": SECRET, "documents": documents}
    answer = await service.send(event, {"a": PDF, "b": b"MZ" + b"\0" * 200})
    assert (answer.status_code, answer.json()["case"]) == (202, None), answer.text
    task = task_id_of(TENANT, TaskKind.STRAY_EVENT.value, SOURCE, event["id"])
    return task, (await service.get(f"/v1/tasks/{task}", CLERK)).json()


async def test_a_stray_events_note_and_documents_can_be_opened(service: Service):
    task, view = await stray(service)
    assert view["shown"]["data"]["note"] == SECRET
    shown = view["shown"]["documents"]
    assert [(each["name"], each["status"]) for each in shown] == [
        ("promesse.pdf", "accepted"),
        ("x.exe", "quarantined"),
    ]
    address = f"/v1/tasks/{task}/documents/{shown[0]['id']}"
    for actor in (CLERK, AUDITOR):
        answer = await service.get(address, actor)
        assert (answer.status_code, answer.content) == (200, PDF)
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"].startswith("attachment")
    put_aside = await service.get(f"/v1/tasks/{task}/documents/{shown[1]['id']}", CLERK)
    assert (put_aside.status_code, put_aside.json()["code"]) == (403, "document.in_quarantine")
    abroad = person("clerk-1", Role.CLERK, tenant="elsewhere")
    assert (await service.get(address, abroad)).status_code == 404


async def test_a_task_gives_out_its_own_events_documents_only(service: Service, worker: Database):
    (task, view), (other, _) = await stray(service), await stray(service)
    document = view["shown"]["documents"][0]["id"]
    for unfit in (other, await review(service, worker)):
        answer = await service.get(f"/v1/tasks/{unfit}/documents/{document}", CLERK)
        assert (answer.status_code, answer.json()["code"]) == (404, "document.unknown")
    assert (await service.get(f"/v1/tasks/{task}/documents/{document}", CLERK)).status_code == 200


async def test_a_clerk_files_a_stray_event_into_its_case(service: Service):
    opened = (await service.send(an_event())).json()
    task, view = await stray(service)
    document = view["shown"]["documents"][0]["id"]
    body: dict[str, Any] = {"digest": view["digest"], "reason": "Le dossier cité est celui-ci."}
    wrong = await act(service, task, "edit", key="k1", **body, changes={"case": SECRET})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "task.case_unknown")
    assert SECRET not in wrong.text
    done = await act(service, task, "edit", key="k1", **body, changes={"case": opened["number"]})
    assert done.status_code == 200, done.text
    assert (done.json()["outcome"], done.json()["case"], done.json()["number"]) == (
        "assigned",
        opened["case"],
        opened["number"],
    )
    again = await act(service, task, "edit", key="k1", **body, changes={"case": opened["number"]})
    assert again.text == done.text
    events = (await service.get(f"/v1/cases/{opened['case']}/events", CLERK)).json()["items"]
    assert [(each["inbox_seq"], each["type"]) for each in events] == [
        (1, "diwan.application.submitted"),
        (2, "diwan.pieces.supplied"),
    ]
    for address in (f"/v1/cases/{opened['case']}/documents/{document}", f"/v1/tasks/{task}/documents/{document}"):
        answer = await service.get(address, CLERK)
        assert (answer.status_code, answer.content) == (200, PDF)
    later = (await service.get(f"/v1/tasks/{task}", CLERK)).json()
    assert (later["number"], later["digest"], later["shown"]) == (opened["number"], view["digest"], view["shown"])
