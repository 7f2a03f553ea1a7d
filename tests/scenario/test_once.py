"""An event takes effect once, however often and however concurrently it is sent; what is refused is on record."""

from __future__ import annotations

import asyncio
import json

from tests.scenario.office import EXAMPLE, Json, Office, follow_up, opening

SAMPLE = json.loads((EXAMPLE / "03-french-permit-too-old" / "application.json").read_text())


def application(reference: str, **changes: object) -> Json:
    kept = {name: SAMPLE[name] for name in ("procedure", "language", "parties", "answers")}
    return {**kept, "reference": reference, **changes}


async def test_the_same_event_a_hundred_times_at_once_makes_one_case(office: Office) -> None:
    event = opening("hundred", application("hundred"))
    answers = await asyncio.gather(*(office.send(event) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["case"] for answer in answers}) == 1
    assert len({answer.text for answer in answers}) == 1
    events = (await office.get("auditor", f"/v1/cases/{answers[0].json()['case']}/events"))["items"]
    assert [event["type"] for event in events] == ["diwan.application.submitted"]


async def test_the_same_id_with_another_body_is_a_conflict(office: Office) -> None:
    assert (await office.send(opening("other-body", application("other-body")))).status_code == 202
    changed = application("other-body", answers={**SAMPLE["answers"], "price": 699_999})
    answer = await office.send(opening("other-body", changed))
    assert answer.status_code == 409
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "699" not in answer.text


async def test_a_withdrawal_wins_over_the_agent_and_closes_the_case(office: Office) -> None:
    accepted = (await office.send(opening("withdrawn", application("withdrawn")))).json()
    sent = await office.send(follow_up("diwan.application.withdrawn", accepted["number"], "withdraw-1", {}))
    assert sent.status_code == 202
    view = await office.closed(accepted["case"])
    assert view["result"] == "withdrawn"
    assert [letter["kind"] for letter in view["letters"]][-1] == "withdrawal"
    # What comes after the end is work for a person, not lost and not acted on.
    late = follow_up("diwan.pieces.supplied", accepted["number"], "late-1", {"note": "too late"})
    assert (await office.send(late)).status_code == 202
    view = await office.case_when(accepted["case"], lambda v: any(task["kind"] == "late_event" for task in v["tasks"]))
    assert view["status"] == "closed"
