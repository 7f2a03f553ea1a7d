"""Reading cases: staff see all of their tenant's, a sender only what is its own; files run nothing in a browser."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from diwan.domain.actor import Role, system
from diwan.domain.case import Result, StepKind
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.letters import seal_letter, store_letter
from diwan.store.notifications import store_notification
from tests.support.factories import CLERK, SOURCE, TENANT, person, sender
from tests.web.conftest import PDF, Service, an_event

AUDITOR = person("auditor-1", Role.AUDITOR)
STRANGER = sender("another-portal")
ABROAD = person("clerk-9", Role.CLERK, tenant="elsewhere")


async def opened(service: Service, **changed: Any) -> dict[str, Any]:
    documents = [{"name": 'وعد "بالبيع"\u202e.pdf', "part": "a", "piece": "sale_promise"}]
    answer = await service.send(an_event(data={"documents": documents}, **changed), {"a": PDF})
    assert answer.status_code == 202, answer.text
    return answer.json()


async def with_letter(service: Service, worker: Database, case: str, *, kind: str = "receipt") -> str:
    """Stores a letter as the worker would; its id."""
    cipher = await service.keyring.cipher(TENANT, case)
    id_ = f"{case}/{kind}/1"
    made = seal_letter(
        cipher,
        id_,
        kind=kind,
        language="fr",
        number="R-000001",
        template="1",
        content={"applicant": {"name": "Zineb Exemplaire"}, "missing": []},
        pdf=b"%PDF-letter",
    )
    async with (
        worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, case, now=service.clock.now) as change,
    ):
        await store_letter(change, made)
        await store_notification(change, id_, channel="portal")
        change.record("letter:letter:issued", system(TENANT, "worker"))
    return id_


async def test_a_case_is_found_by_id_and_by_number(service: Service):
    accepted = await opened(service)
    by_id = (await service.get(f"/v1/cases/{accepted['case']}", CLERK)).json()
    by_number = (await service.get(f"/v1/cases/{accepted['number']}", AUDITOR)).json()
    assert by_id == by_number
    assert (by_id["status"], by_id["kind"], by_id["step"]) == ("open", "act", "receipt")
    facts = {fact["name"]: fact["value"] for fact in by_id["facts"]}
    assert facts["price"] == 280000
    assert by_id["documents"][0]["name"] == 'وعد "بالبيع"\u202e.pdf'


@pytest.mark.parametrize("case", ["none", "DW-2026-999999", "%F0%9F%92%A9", "x" * 3000, "..", "a'--"])
async def test_what_is_not_there_is_a_404(service: Service, case: str):
    answer = await service.get(f"/v1/cases/{case}", CLERK)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_sender_sees_its_own_cases_and_not_what_was_found_out(service: Service, worker: Database):
    accepted = await opened(service)
    async with (
        worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, accepted["case"], now=service.clock.now) as change,
    ):
        change.state.flags.append("instruction_suspected")
        change.state.result = Result.REFUSED
        change.plan(StepKind.TASK, None)
        change.record("case:step:moved", system(TENANT, "worker"))
    mine = (await service.get(accepted["address"], sender())).json()
    assert mine["number"] == accepted["number"]
    assert (mine["flags"], mine["facts"], mine["tasks"], mine["proposal"], mine["decision"]) == ([], [], [], None, None)
    assert mine["documents"][0]["name"]
    staff = (await service.get(accepted["address"], CLERK)).json()
    assert staff["flags"] == ["instruction_suspected"]
    assert (await service.get(f"{accepted['address']}/story", sender())).status_code == 403


@pytest.mark.parametrize("rest", ["", "/events", "/documents", "/letters", "/receipt", "/documents/{document}"])
async def test_who_may_not_see_a_case_is_told_that_there_is_none(service: Service, rest: str):
    accepted = await opened(service)
    path = accepted["address"] + rest.format(document=accepted["documents"][0]["document"])
    for actor in (STRANGER, ABROAD):
        answer = await service.get(path, actor)
        assert (answer.status_code, answer.json()["code"]) == (404, "case.unknown")
    assert (await service.get("/v1/cases", STRANGER)).json()["items"] == []
    assert (await service.get("/v1/cases", ABROAD)).json()["items"] == []


async def test_cases_are_listed_newest_first_page_by_page(service: Service):
    numbers: list[str] = []
    for _ in range(5):
        service.clock.pass_(seconds=1)
        numbers.append((await opened(service))["number"])
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = (await service.get("/v1/cases", CLERK, params={"limit": 2, "cursor": cursor})).json()
        seen += [case["number"] for case in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert seen[:5] == numbers[::-1]
    assert len(seen) == len(set(seen))
    own = (await service.get("/v1/cases", sender(), params={"limit": 200})).json()["items"]
    assert {case["number"] for case in own} == set(seen)


async def test_cases_are_filtered(service: Service):
    await opened(service)
    closed = (await service.get("/v1/cases?status=closed", CLERK)).json()["items"]
    assert closed == []
    none = (await service.get("/v1/cases?procedure=another", CLERK)).json()["items"]
    assert none == []
    assert (await service.get("/v1/cases?status=nonsense", CLERK)).status_code == 422


@pytest.mark.parametrize("cursor", ["x", "|", "é|é"])
async def test_a_cursor_that_is_not_ours_is_no_failure(service: Service, cursor: str):
    answer = await service.get("/v1/cases", CLERK, params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "list.bad_cursor")


@pytest.mark.parametrize("cursor", ["2026-01-01", "2026-01-01T00:00:00|%s" % ("x" * 200)])
async def test_a_cursor_that_could_be_ours_lists_what_is_before_it(service: Service, cursor: str):
    await opened(service)
    answer = await service.get("/v1/cases", CLERK, params={"cursor": cursor})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_the_events_of_a_case(service: Service):
    accepted = await opened(service)
    events = (await service.get(f"{accepted['address']}/events", sender())).json()["items"]
    assert [(event["inbox_seq"], event["source"], event["consumed_at"]) for event in events] == [(1, SOURCE, None)]


async def test_the_story_is_the_ledgers(service: Service, worker: Database):
    accepted = await opened(service)
    await with_letter(service, worker, accepted["case"])
    lines = (await service.get(f"{accepted['address']}/story", AUDITOR)).json()["items"]
    assert [(line["seq"], line["kind"]) for line in lines] == [
        (1, "event:application:accepted"),
        (2, "letter:letter:issued"),
    ]
    assert lines[0]["actor"] == "portal"
    page = (await service.get(f"{accepted['address']}/story?limit=1", AUDITOR)).json()
    rest = (await service.get(f"{accepted['address']}/story?cursor={page['next']}", AUDITOR)).json()
    assert page["items"] + rest["items"] == lines


async def test_a_document_comes_back_as_a_file_that_runs_nothing(service: Service):
    accepted = await opened(service)
    listed = (await service.get(f"{accepted['address']}/documents", CLERK)).json()["items"][0]
    answer = await service.get(listed["address"], CLERK)
    assert answer.content == PDF
    assert answer.headers["content-type"] == "application/pdf"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''")
    assert disposition.isascii()
    assert '"' not in disposition


async def test_a_document_of_another_case_is_not_there(service: Service):
    one, other = await opened(service), await opened(service)
    path = f"{one['address']}/documents/{other['documents'][0]['document']}"
    answer = await service.get(path, CLERK)
    assert (answer.status_code, answer.json()["code"]) == (404, "document.unknown")


async def test_letters_and_the_receipt(service: Service, worker: Database):
    accepted = await opened(service)
    early = await service.get(accepted["receipt"], sender())
    assert (early.status_code, early.json()["code"]) == (503, "receipt.not_made_yet")
    assert early.headers["retry-after"]
    id_ = await with_letter(service, worker, accepted["case"])
    (listed,) = (await service.get(f"{accepted['address']}/letters", sender())).json()["items"]
    assert (listed["id"], listed["number"], listed["notified"]) == (id_, "R-000001", "portal:sent")
    for path in (listed["address"], f"{accepted['address']}/letters/{quote(id_)}"):
        letter = await service.get(path, sender())
        assert (letter.content, letter.headers["content-type"]) == (b"%PDF-letter", "application/pdf")
    receipt = (await service.get(accepted["receipt"], sender())).json()
    assert (receipt["number"], receipt["content"]["missing"]) == ("R-000001", [])
    as_pdf = await service.get(accepted["receipt"], sender(), headers={"Accept": "application/pdf"})
    asked = await service.get(f"{accepted['receipt']}?format=pdf", sender())
    assert as_pdf.content == asked.content == b"%PDF-letter"
    both = {"Accept": "application/json, application/pdf"}
    assert (await service.get(accepted["receipt"], sender(), headers=both)).json() == receipt


async def test_a_letter_of_another_case_is_not_there(service: Service, worker: Database):
    one, other = await opened(service), await opened(service)
    id_ = await with_letter(service, worker, other["case"])
    answer = await service.get(f"{one['address']}/letters/{quote(id_, safe='')}", CLERK)
    assert (answer.status_code, answer.json()["code"]) == (404, "letter.unknown")
