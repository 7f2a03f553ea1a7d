"""Erasing over HTTP: who may ask, approve and hold; and what the service says of a case whose data are gone."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

import httpx
import pytest

from diwan.documents.story_page import Line, story_page
from diwan.documents.story_words import WORDS
from diwan.domain.actor import Actor, rule
from diwan.domain.erasure import LONGEST_BASIS, Ground, ScopeRule
from diwan.domain.event import PIECES_SUPPLIED, FollowUp
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.task import ActInput, TaskAct
from diwan.domain.text import Language
from diwan.erasing import Erasures
from diwan.ledger.receipt_code import code_of
from diwan.store.acts import act_on_task
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.erasures import BY_SCHEDULE, Wanted, ask_erasure
from diwan.store.intake import accept_event
from diwan.store.scope_erasures import ScopeErasure, begin, finish
from diwan.store.tasks import get_task, task_id_of
from tests.store.whole_case import drain, whole_case
from tests.support.factories import AUDITOR, AUTHORITY, CLERK, SUPERVISOR, TENANT, envelope, sender
from tests.web.conftest import Service

ASK = {"ground": "request", "legal_basis": "Act No. 00-26, Article 30", "reason": "SECRET-letter of 3 March"}
SECRET = "SECRET-http"


@dataclass
class Desk:
    """A closed case, and what carries erasures out."""

    service: Service
    case: str
    stray: str
    code: str
    erasures: Erasures

    async def post(self, path: str, actor: Actor, **body: Any) -> httpx.Response:
        return await self.service.post(path, actor, json=body or None)

    async def view(self, actor: Actor = CLERK) -> Any:
        answer = await self.service.get(f"/v1/cases/{self.case}", actor)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def desk(service: Service, web: Database, worker: Database, pool: Database) -> Desk:
    now = service.clock.now
    reference = f"http-{uuid.uuid4()}"
    case = await whole_case(web, worker, pool, service.keyring, reference, secret=SECRET, now=now)
    stray = await _filed(service, web, case)
    await drain(worker, case, now)
    code = code_of(hashlib.sha256(reference.encode()).digest())
    return Desk(service, case, stray, code, Erasures(worker, service.keyring, service.clock))


async def _filed(service: Service, web: Database, case: str) -> str:
    """The task of an event that came without its case, which a person gave to it."""
    now, event = service.clock.now, envelope(f"stray-{case}", type_=PIECES_SUPPLIED, subject="nowhere")
    await accept_event(web, service.keyring, event, FollowUp(note=SECRET), [], client=sender(), now=now)
    id_ = task_id_of(TENANT, "stray_event", event.source, event.id)
    async with web.transaction(TENANT) as conn:
        task = await get_task(conn, TENANT, id_)
    given = ActInput(digest=task.digest, reason="Hers.", changes={"case": case})
    await act_on_task(web, service.keyring, CLERK, id_, TaskAct.EDIT, given, key=id_, now=now)
    return id_


async def test_asked_held_approved_and_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = (await desk.service.get("/v1/erasures", AUDITOR)).json()["items"]
    assert (first["case"], first["status"], first["ground"]) == (desk.case, "asked", "request")
    declined = await desk.post(f"/v1/erasures/{first['id']}/refusal", AUTHORITY, reason="Not yet.")
    assert (declined.status_code, declined.json()["status"]) == (200, "declined")

    desk.service.clock.pass_(minutes=1)
    asked = await desk.post(f"/v1/cases/{desk.case}/erasures", SUPERVISOR, **ASK)
    assert asked.status_code == 201, asked.text
    approval = f"/v1/erasures/{asked.json()['id']}/approval"
    own = await desk.post(approval, SUPERVISOR)
    assert (own.status_code, own.json()["code"]) == (403, "erasure.four_eyes")

    hold = await desk.post(f"/v1/cases/{desk.case}/holds", AUTHORITY, reason="An action is pending.")
    assert hold.status_code == 201, hold.text
    held = await desk.post(approval, AUTHORITY)
    assert (held.status_code, held.json()["code"]) == (409, "erasure.hindered_hold")
    assert [each["lifted_at"] for each in (await desk.view())["holds"]][-1] is None
    lifting = f"/v1/cases/{desk.case}/holds/{hold.json()['id']}/lifting"
    assert (await desk.post(lifting, AUTHORITY, reason="It was dismissed.")).status_code == 200

    assert (await desk.post(approval, AUTHORITY)).json()["status"] == "approved"
    before = await desk.view()
    assert before["parties"]
    assert (await desk.service.http.get(f"/ledger/receipts/{desk.code}")).json()["status"] == "in_force"
    given = desk.service.keyring.cipher
    scopes = (desk.case, f"stray/{desk.stray}")
    in_memory = {scope: await given(TENANT, scope) for scope in scopes}
    assert await desk.erasures.pass_once() == 1
    await _says_that_it_is_gone(desk, before)

    async def remembered(tenant: str, scope: str) -> Cipher:
        return in_memory.get(scope) or await given(tenant, scope)

    monkeypatch.setattr(desk.service.keyring, "cipher", remembered)
    await _says_that_it_is_gone(desk, before, calls=False)


async def _says_that_it_is_gone(desk: Desk, before: Any, *, calls: bool = True) -> None:
    """Also to a process that has the keys in memory."""
    after = await desk.view()
    assert after["erased"] == ["decision", "evidence", "exchange"]
    assert (after["parties"], after["facts"], after["decision"], after["proposal"]) == ([], [], None, None)
    assert [each["name"] for each in after["documents"]] == [""]
    same = ("number", "status", "result", "opened_at", "closed_at", "letters")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert (await desk.view(sender()))["erased"] == after["erased"]

    document, letter = after["documents"][0]["address"], after["letters"][0]["address"]
    task = next(each["address"] for each in after["tasks"])
    stray = f"/v1/tasks/{desk.stray}"
    for path, actor in (
        *((document, CLERK), (letter, CLERK), (f"{letter}?format=json", CLERK), (task, CLERK), (stray, CLERK)),
    ):
        answer = await desk.service.get(path, actor)
        assert (answer.status_code, answer.json()["code"]) == (410, "vault.key_destroyed"), path
    for path in ("story", "events", "documents", "letters", "trace"):
        answer = await desk.service.get(f"/v1/cases/{desk.case}/{path}", AUDITOR)
        assert answer.status_code == 200, (path, answer.text)
        assert SECRET not in answer.text
    past = (await desk.service.get(f"/v1/cases/{desk.case}/past?entry={before['version']}", AUDITOR)).json()
    assert past["erased"] == after["erased"]
    assert (past["parties"], past["facts"], past["decision"], past["proposal"]) == ([], [], None, None)
    rerun = await desk.service.get(f"/v1/cases/{desk.case}/reruns/again-{desk.case}", AUDITOR)
    assert (rerun.status_code, rerun.json()["first"], rerun.json()["said"]) == (200, None, None)
    explained = await desk.post(f"/v1/cases/{desk.case}/explanations", CLERK)
    assert (explained.status_code, explained.json()["code"]) == (410, "vault.key_destroyed")
    assert (await desk.service.http.get(f"/ledger/receipts/{desk.code}")).json()["status"] == "unknown"
    again = await desk.post(f"/v1/cases/{desk.case}/erasures", SUPERVISOR, **ASK)
    assert (again.status_code, again.json()["code"]) == (410, "erasure.done_before")
    if not calls:
        return
    (call, *_) = (await desk.service.get(f"/v1/cases/{desk.case}/calls", AUDITOR)).json()["items"]
    assert call["why_not"] == "erased"


async def test_what_is_asked_for_is_understood_or_refused(desk: Desk) -> None:
    too_long = "x" * (LONGEST_BASIS + 1)
    for wrong in (
        {"ground": "retention"},
        {"legal_basis": ""},
        {"legal_basis": too_long},
        {"classes": []},
        {"more": 1},
    ):
        answer = await desk.post(f"/v1/cases/{desk.case}/erasures", SUPERVISOR, **ASK | wrong)
        assert answer.status_code == 422, (wrong, answer.text)
    await desk.post(f"/v1/erasures/{(await desk.view())['erasures'][0]['id']}/refusal", AUTHORITY, reason="Not yet.")
    answer = await desk.post(f"/v1/cases/{desk.case}/erasures", SUPERVISOR, **ASK | {"legal_basis": too_long[1:]})
    assert answer.status_code == 201, "what is taken fits into its entry"


async def test_pages_go_through_what_is_to_be_erased_by_status_and_ground(desk: Desk, worker: Database) -> None:
    declined = (await desk.view())["erasures"][0]["id"]
    assert (await desk.post(f"/v1/erasures/{declined}/refusal", AUTHORITY, reason="Not all.")).status_code == 200
    wanted = Wanted([RetentionClass.EXCHANGE], Ground.RETENTION, "Loi n° 00-26, article 23")
    cipher = await desk.service.keyring.cipher(TENANT, desk.case)
    desk.service.clock.pass_(minutes=1)
    async with (
        worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, desk.case, now=desk.service.clock.now) as change,
    ):
        proposed = (await ask_erasure(change, cipher, rule(TENANT, BY_SCHEDULE), wanted)).id
    desk.service.clock.pass_(minutes=1)
    given = ASK | {"ground": "order", "classes": ["evidence"]}
    ordered = (await desk.post(f"/v1/cases/{desk.case}/erasures", SUPERVISOR, **given)).json()["id"]

    async def listed(**filters: str) -> list[str]:
        """One a page; those that other tests left behind are there as well."""
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            params = {**filters, "limit": 1, "cursor": cursor}
            page = (await desk.service.get("/v1/erasures", AUDITOR, params=params)).json()
            found, cursor = [*found, *(each["id"] for each in page["items"])], page["next"]
            assert len(found) == len(set(found))
        return [each for each in found if each in (declined, proposed, ordered)]

    assert await listed() == [proposed, ordered]
    assert await listed(status="declined") == [declined]
    assert await listed(ground="retention") == [proposed]
    assert await listed(ground="person") == [ordered] == await listed(ground="order")
    assert await listed(ground="request") == []
    assert await listed(ground="person", status="declined") == [declined]
    for wrong in ({"cursor": "x"}, {"ground": "whim"}):
        assert (await desk.service.get("/v1/erasures", AUDITOR, params=wrong)).status_code == 422


async def test_what_was_known_is_shown_without_the_class_that_is_erased(desk: Desk) -> None:
    first = (await desk.view())["erasures"][0]["id"]
    assert (await desk.post(f"/v1/erasures/{first}/refusal", AUTHORITY, reason="Not all.")).status_code == 200
    before = await desk.view()
    classes = ["evidence", "exchange"]
    asked = await desk.post(f"/v1/cases/{desk.case}/erasures", SUPERVISOR, **ASK, classes=classes)
    await desk.post(f"/v1/erasures/{asked.json()['id']}/approval", AUTHORITY)
    assert await desk.erasures.pass_once() == 1
    answer = await desk.service.get(f"/v1/cases/{desk.case}/past?entry={before['version']}", AUDITOR)
    assert answer.status_code == 200, answer.text
    past = answer.json()
    assert (past["erased"], past["facts"], past["documents"][0]["name"]) == (classes, [], "")
    assert (past["parties"], past["decision"]) == (before["parties"], before["decision"])


def test_its_story_is_told_in_three_languages() -> None:
    for kind, words in WORDS.items():
        header = {"seq": 1, "at": "2026-11-27", "kind": kind, "actor": {"kind": "person", "subject": "a"}}
        for language in Language:
            page = story_page(language, "DW-2026-000001", [Line(header, None, sealed=False)]).decode()
            assert escape(words.in_(language)) in page
            assert kind in page
    assert len(WORDS) >= 7


async def test_what_belongs_to_no_case_is_listed_while_it_goes_and_when_it_is_gone(
    service: Service, worker: Database
) -> None:
    months = [
        ScopeErasure(f"searches/2020-0{month}", ScopeRule.SEARCHES, date(2020, month, 28), date(2023, month, 28))
        for month in (1, 2, 3)
    ]
    async with worker.transaction(TENANT) as conn:
        for each in months:
            await begin(conn, TENANT, each, legal_basis="", now=service.clock.now)
    async with worker.transaction(TENANT) as conn:
        await finish(conn, TENANT, months[1], [months[1].scope], now=service.clock.now)

    async def listed(actor: Actor = AUDITOR, **params: Any) -> list[Any]:
        found: list[Any] = []
        while True:
            page = (await service.get("/v1/erasures/without-case", actor, params={"limit": 1, **params})).json()
            found += page["items"]
            if page["next"] is None:
                return found
            params["cursor"] = page["next"]

    started, done = await listed(), await listed(SUPERVISOR, done="true")
    assert [each["scope"] for each in started] == ["searches/2020-01", "searches/2020-03"]
    assert [each["scope"] for each in done] == ["searches/2020-02"]
    (gone,) = done
    assert (gone["rule"], gone["kept_from"], gone["kept_until"]) == ("searches", "2020-02-28", "2023-02-28")
    assert None not in (gone["started_at"], gone["done_at"])
    assert started[0]["done_at"] is None
