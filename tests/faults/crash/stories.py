"""Cases that together pass every commit in the life of an event, several of them by more than one way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import text

from diwan.embedded.bootstrap import TENANT
from diwan.store.tenants import put_tenant, settings_of
from tests.faults.crash.people import PATIENCE_S, PatientOffice, as_owner
from tests.scenario import again
from tests.scenario.office import EXAMPLE, Json, opening

Story = Callable[[PatientOffice], Awaitable[None]]

GRANTED = EXAMPLE / "01-arabic-granted-100000"
PIECE_MISSING = EXAMPLE / "02-french-promise-missing"
REFUSED = EXAMPLE / "03-french-permit-too-old"
PRICE_DIFFERS = EXAMPLE / "04-arabic-price-differs"
UNREADABLE = EXAMPLE / "06-french-unreadable-scan"
WITHDRAWN = EXAMPLE / "07-arabic-withdrawn"

# The shipped procedure with a period to supply pieces that is over when it begins (launch.py).
SHORT_NOTICE = "short-notice"
# The shipped procedure with reminders that are due when what they remind of is asked.
REMINDED = "reminded-at-once"
WITHDRAWAL, SUPPLIED, RECEIVED = (
    "diwan.application.withdrawn",
    "diwan.pieces.supplied",
    "diwan.notification.received",
)
REASON = "So that it is looked at again."


async def granted_and_after(office: PatientOffice) -> None:
    """Granted; then its letter is received, and something comes when all is over."""
    view = await office.play(GRANTED, "granted")
    received = {"letter": view["letters"][-1]["id"], "proof": "signed for"}
    await office.tell(RECEIVED, view["number"], "granted-received", received)
    await office.tell(SUPPLIED, view["number"], "granted-late", {"note": "too late"})

    def came_late(now: Json) -> bool:
        return any(task["kind"] == "late_event" for task in now["tasks"])

    view = await office.case_when(view["id"], came_late)
    (late,) = [task for task in view["tasks"] if task["kind"] == "late_event"]
    await office.done("clerk", await office.get("clerk", f"/v1/tasks/{late['id']}"), "approve")
    letters = (await office.get("auditor", f"/v1/cases/{view['id']}"))["letters"]
    assert letters[-1]["notified"] == "portal:received"


async def piece_asked_for(office: PatientOffice) -> None:
    """Asked for and sent; when all is over, what the case holds is erased, with the keys of what was uploaded."""
    view = await office.play(PIECE_MISSING, "piece")
    await erased(office, view["id"])


async def erased(office: PatientOffice, case: str) -> None:
    """Asked for and declined, asked for again, held, let go, approved, carried out."""
    asking = {"ground": "request", "legal_basis": "Act No. 00-26, Article 30", "reason": REASON}
    erasures = f"/v1/cases/{case}/erasures"
    first = await _agreed(office, "supervisor", erasures, asking)
    await _agreed(office, "authority", f"/v1/erasures/{first['id']}/refusal", {"reason": REASON})
    asked = await _agreed(office, "supervisor", erasures, asking)
    assert asked["id"] in [each["id"] for each in (await office.get("auditor", "/v1/erasures"))["items"]]
    hold = await _agreed(office, "authority", f"/v1/cases/{case}/holds", {"reason": REASON})
    await _agreed(office, "authority", f"/v1/cases/{case}/holds/{hold['id']}/lifting", {"reason": REASON})
    await _agreed(office, "authority", f"/v1/erasures/{asked['id']}/approval", {})
    view = await office.case_when(case, lambda now: [each["status"] for each in now["erasures"]][1:] == ["done"])
    assert (view["parties"], view["erased"]) == ([], ["decision", "evidence", "exchange"])


async def _agreed(office: PatientOffice, user: str, path: str, body: Json) -> Json:
    answer = await office.call(user, "POST", path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def edited(office: PatientOffice) -> None:
    await office.play(PRICE_DIFFERS, "edited")


async def request_rejected(office: PatientOffice) -> None:
    await office.play(UNREADABLE, "rejected")


async def withdrawn(office: PatientOffice) -> None:
    await office.play(WITHDRAWN, "withdrawn")


async def sent_back(office: PatientOffice) -> None:
    """Returned to the agent, given free again, refused to whom it is not for, not signed, rejected, and then signed."""
    case = (await office.submit(REFUSED, "sent-back"))["case"]
    task = await office.at(case, "review")
    for verb in ("claim", "release"):
        assert (await office.act("clerk", task, verb)).status_code == 200
    await office.done("clerk", task, "return", reason=REASON)
    await office.done("clerk", await office.at(case, "review", 2), "approve")
    task = await office.at(case, "sign")
    assert (await office.act("clerk", task, "approve")).status_code == 403
    await office.done("authority", task, "return", reason=REASON)
    await office.done("clerk", await office.at(case, "review", 3), "reject", reason=REASON)
    await office.done("supervisor", await office.at(case, "review", 4), "approve")
    await office.done("authority", await office.at(case, "sign", 2), "approve")
    view = await office.closed(case)
    assert (view["result"], len(view["letters"])) == ("refused", 2)


async def strays(office: PatientOffice) -> None:
    """Two events that match no case: one is filed in the case that a person names, one put away."""
    accepted = await office.submit(REFUSED, "named-by-a-person")
    await office.at(accepted["case"], "review")
    for name in ("stray-filed", "stray-put-away"):
        await office.tell(SUPPLIED, "no-such-case", name, {"note": name})
    page = await office.get("clerk", "/v1/tasks?kind=stray_event&limit=200")
    shown = [await office.get("clerk", f"/v1/tasks/{task['id']}") for task in page["items"]]
    filed, put_away = (
        next(task for task in shown if task["shown"]["event"]["id"] == name)
        for name in ("stray-filed", "stray-put-away")
    )
    await office.done("clerk", put_away, "approve")
    named = {"case": accepted["number"]}
    await office.done("clerk", filed, "edit", changes=named, reason=REASON)
    await office.at(accepted["case"], "review", 2)
    await withdraw(office, accepted)


async def said_again(office: PatientOffice) -> None:
    """The same application under another id is the same case; another under the same id is refused."""
    sample = json.loads((REFUSED / "application.json").read_text())
    kept = {name: sample[name] for name in ("procedure", "language", "parties", "answers")}
    application = {**kept, "reference": "again"}
    answers = [await office.send({**opening("again", application), "id": id_}) for id_ in ("again-1", "again-2")]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["case"] for answer in answers}) == 1
    other = {**opening("again", {**application, "language": "ar"}), "id": "again-1"}
    assert (await office.send(other)).status_code == 409
    other = {**opening("again", {**application, "language": "ar"}), "id": "again-3"}
    assert (await office.send(other)).status_code == 409
    await withdraw(office, answers[0].json())


async def nothing_supplied(office: PatientOffice) -> None:
    """The pieces that were asked for do not come, and their period ends."""
    no_reminder = ("    remind:\n      - {before: 5}\n", "")
    await publish(office, SHORT_NOTICE, ("length: 30", "length: 1"), no_reminder)
    accepted = await office.submit(PIECE_MISSING, "unsupplied", procedure=SHORT_NOTICE)
    await office.done("clerk", await office.at(accepted["case"], "request_review"), "approve")
    await office.at(accepted["case"], "review")
    await withdraw(office, accepted)


async def reminded(office: PatientOffice) -> None:
    """Whoever is asked for a piece, and whoever has a task, is reminded of it; once each, and then it is withdrawn."""
    before = ("- {before: 5}", "- {before: 1}"), ("examination, before: 3", "examination, before: 1")
    await publish(office, REMINDED, *before)
    asked = await office.submit(PIECE_MISSING, "reminded-applicant", procedure=REMINDED)
    await office.done("clerk", await office.at(asked["case"], "request_review"), "approve")
    await office.case_when(asked["case"], lambda now: [each["kind"] for each in now["letters"]][2:] == ["reminder"])
    of_task = await office.submit(REFUSED, "reminded-clerk", procedure=REMINDED)
    await office.case_when(of_task["case"], lambda now: any(task["reminded_at"] for task in now["tasks"]))
    for accepted in (asked, of_task):
        await withdraw(office, accepted)


async def publish(office: PatientOffice, name: str, *changes: tuple[str, str]) -> None:
    """The shipped procedure under another name, with changes."""
    text = (EXAMPLE.parent / "procedure.yaml").read_text(encoding="utf-8")
    for old, new in (("name: direct-housing-aid", f"name: {name}"), *changes):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    headers = {"content-type": "application/yaml"}
    answer = await office.call("analyst", "POST", "/v1/procedures", content=text.encode(), headers=headers)
    assert answer.is_success, answer.text


async def never_named(office: PatientOffice) -> None:
    """An upload that no event names, as old as it takes: the relay removes it, the worker has its keys destroyed."""
    ref = await office.upload("forgotten.txt", b"Nobody named this.")
    async with as_owner(office.stack.database_url("diwan_owner")) as conn:
        await conn.execute(_AGED, {"id": ref})
    until = time.monotonic() + PATIENCE_S
    while True:
        async with as_owner(office.stack.database_url("diwan_owner")) as conn:
            if (await conn.execute(_DESTROYED, {"scope": f"staged/{ref}"})).scalar_one():
                assert (await conn.execute(_THERE, {"id": ref})).scalar_one() == 0
                return
        assert time.monotonic() < until, "the upload or its keys stay"
        await asyncio.sleep(1)


_AGED = text("UPDATE document SET received_at = received_at - interval '400 days' WHERE id = :id AND event_id = ''")
_THERE = text("SELECT count(*) FROM document WHERE id = :id")
_DESTROYED = text("SELECT count(*) FROM scope_erasure WHERE scope = :scope AND done_at IS NOT NULL")


async def run_again(office: PatientOffice) -> None:
    """An auditor takes the file of a case, and has a call sent again until it comes through; one whose stored answer
    somebody spoilt never is."""
    case = (await office.submit(REFUSED, "run-again"))["case"]
    await office.done("clerk", await office.at(case, "review"), "approve")
    await office.done("authority", await office.at(case, "sign"), "approve")
    await office.closed(case)
    answer = await office.call("auditor", "POST", f"/v1/cases/{case}/bundles")
    assert answer.status_code == 200, answer.text
    good, bad, *_ = await again.calls_of(office, case)
    # Each that dies while it has the call is a fault of it, and three end the attempt.
    passing = ("rerun.host_lost", "rerun.no_host", "rerun.no_room", "engine.failed", "engine.out")
    for _ in range(2):  # who dies after its commit is not asked for that one again
        while (came := await again.run(office, case, good))["status"] != "identical":
            assert came["reason"] in passing, came
    again.spoil(office, bad)
    while (came := await again.run(office, case, bad))["reason"] != "cipher.does_not_open":
        assert came["reason"] in passing, came


async def withdraw(office: PatientOffice, accepted: Json) -> None:
    await office.tell(WITHDRAWAL, accepted["number"], f"withdraw-{accepted['number']}", {})
    assert (await office.closed(accepted["case"]))["result"] == "withdrawn"


async def blocked(office: PatientOffice) -> None:
    """A decision that cannot be issued, for nobody has written down who signed it: it waits, and goes on after that.

    Apart from the other stories, whose decisions would wait as well.
    """
    case = (await office.submit(REFUSED, "blocked"))["case"]
    await office.done("clerk", await office.at(case, "review"), "approve")
    task = await office.at(case, "sign")
    owner = office.stack.database_url("diwan_owner")
    async with as_owner(owner) as conn:
        settings = await settings_of(conn, TENANT)
        await put_tenant(conn, TENANT, {**settings, "signatories": {}})
    await office.done("authority", task, "approve")
    view = await office.case_when(case, lambda now: bool(now["blocked"]))
    assert (view["status"], view["blocked"]) == ("open", "tenant.signatory_unknown")
    async with as_owner(owner) as conn:
        await put_tenant(conn, TENANT, settings)
    received = {"letter": view["letters"][0]["id"], "proof": "seen"}
    await office.tell(RECEIVED, view["number"], "blocked-received", received)
    view = await office.case_when(case, lambda now: now["status"] == "closed", though_blocked=True)
    assert view["result"] == "refused"


STORIES: tuple[Story, ...] = (
    granted_and_after,
    piece_asked_for,
    edited,
    request_rejected,
    withdrawn,
    sent_back,
    strays,
    said_again,
    nothing_supplied,
    reminded,
    never_named,
    run_again,
)
