"""The people of a run believe no agent that has not read, do what a refusal says, and give up a task by its name."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from diwan.embedded.supervisor import Stack
from tests.faults import runner
from tests.faults.desk import Answer, Desk
from tests.faults.disk import SmallDisk
from tests.faults.dossiers import SUBMITTED, Application, event, samples
from tests.faults.evidence import Row
from tests.faults.people import People, planned
from tests.faults.sender import Portal

CASE, TASK, DIGEST = "c1", "t1", "d" * 64


def made_of(number: int) -> Application:
    sample = samples()[number - 1]
    opening = event("open", SUBMITTED, "", {})
    return Application(
        number, sample.name, opening, sample.sendings, sample.acts, str(sample.expected["result"]), sample.expected
    )


UNREADABLE = made_of(6)


def proposal(made: Application, *, unread: bool = False, **changed: Any) -> Row:
    """What an agent proposes that has read all of an application's papers, or that has read nothing."""
    shown = () if unread else made.expected["facts"]["document"]
    pieces = ["identity_card", "sale_promise", "habitation_permit", "non_ownership_certificate"]
    return {
        "facts": [{"name": name, "provenance": "document", "by_person": False} for name in shown],
        "editors": [],
        "warnings": [],
        "assessment": {
            "result": changed.pop("result", None),
            "missing_pieces": pieces if unread else changed.pop("missing", []),
            "unreadable_pieces": changed.pop("unreadable", []),
        },
        **changed,
    }


def edited(**changed: Any) -> Row:
    """As a clerk left the sixth sample's: the permit's date is read off the paper."""
    made = proposal(UNREADABLE, editors=["demo-clerk"], **changed)
    made["facts"].append({"name": "permit_date", "provenance": "document", "by_person": True})
    return made


def task_of(kind: str, shown: Row) -> Row:
    return {
        **{"id": TASK, "case": CASE, "number": "DW-2026-000023", "kind": kind, "step": kind, "status": "open"},
        **{"digest": DIGEST, "shown": {"proposal": shown}},
    }


def _does(made: Application, kind: str, shown: Row) -> tuple[str, str]:
    act = planned(made, task_of(kind, shown), shown)
    return act.by, act.verb


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("kind", ["request_pieces", "review"])
def test_a_proposal_of_who_read_nothing_is_sent_back(number: int, kind: str) -> None:
    assert _does(made_of(number), kind, proposal(made_of(number), unread=True)) == ("clerk", "return")


def test_a_proposal_of_who_read_all_is_dealt_with_as_the_sample_says() -> None:
    asking = proposal(made_of(2), missing=["sale_promise"])
    assert _does(made_of(2), "request_pieces", asking) == ("clerk", "approve")
    unreadable = proposal(UNREADABLE, unreadable=["habitation_permit"])
    assert _does(UNREADABLE, "request_pieces", unreadable) == ("clerk", "reject")
    assert _does(UNREADABLE, "review", unreadable) == ("clerk", "edit")
    assert _does(UNREADABLE, "review", edited(result="granted")) == ("supervisor", "approve")
    assert _does(UNREADABLE, "sign", edited(result="granted")) == ("authority", "approve")


def test_who_would_approve_sends_back_what_is_open_or_otherwise() -> None:
    """An edit of a proposal whose other pieces an agent had missed left its result open: nobody may approve that."""
    assert _does(UNREADABLE, "review", edited(unread=True)) == ("clerk", "return")
    assert _does(UNREADABLE, "review", edited()) == ("clerk", "return")
    assert _does(UNREADABLE, "review", edited(result="refused")) == ("clerk", "return")
    overlooked = edited(result="granted")
    overlooked["facts"] = [fact for fact in overlooked["facts"] if fact["name"] != "price"]
    assert _does(UNREADABLE, "review", overlooked) == ("clerk", "return")
    assert _does(UNREADABLE, "sign", edited(result="refused")) == ("authority", "return")


class ScriptedDesk(Desk):
    """A service with one task; `refuses` has by (user, verb) the code of a 403. `acted` logs what was tried."""

    task: Row
    refuses: dict[tuple[str, str], str]
    conflict: str = ""
    looked: int = 0
    stop: asyncio.Event | None = None

    async def call(self, user: str, method: str, path: str, **more: Any) -> Answer:
        if path.startswith("/v1/tasks?"):
            self.looked += 1
            if self.stop is not None and self.looked > 2:
                self.stop.set()
            return Answer(200, {"items": [self.task] if self.task["status"] == "open" else []})
        if method == "GET":
            return Answer(200, self.task)
        verb = path.rpartition("/")[2]
        self.statuses[200] += 1
        if code := self.refuses.get((user, verb)):
            return Answer(403, {"code": code})
        if self.conflict:
            return Answer(409, {"code": self.conflict})
        if verb not in ("claim", "release"):
            self.task["status"] = "completed"
        return Answer(200, {"id": TASK})

    def tried(self) -> list[str]:
        return [f"{acted.key.split(f'-{TASK}')[0]} {acted.status}" for acted in self.acted if acted.act in _VERBS]


_VERBS = ("approve", "return", "edit", "reject")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[ScriptedDesk]:
    async with httpx.AsyncClient() as http:
        made = ScriptedDesk(tmp_path, str, http, tmp_path / "log")
        made.task, made.refuses = task_of("review", edited(result="granted")), {}
        yield made


@pytest.fixture
def people(desk: ScriptedDesk) -> People:
    portal = Portal(desk, 1)
    portal.applications[CASE], portal.due[CASE] = UNREADABLE, set()
    dice = random.Random(1)  # noqa: S311 - any will do
    dice.random = lambda: 0.9  # neither claims nor repeats
    return People(desk, portal, dice)


async def test_what_is_refused_for_four_eyes_is_another_persons(desk: ScriptedDesk, people: People) -> None:
    desk.refuses = {("supervisor", "approve"): "task.four_eyes"}
    await people.take(TASK)
    assert desk.tried() == ["approve-supervisor 403", "approve-clerk-2 200"]
    assert (people.given_up, people.counts["refused task.four_eyes"]) == ({}, 1)


async def test_what_is_refused_because_it_is_open_is_sent_back(desk: ScriptedDesk, people: People) -> None:
    desk.refuses = {("supervisor", "approve"): "task.undetermined"}
    await people.take(TASK)
    assert desk.tried() == ["approve-supervisor 403", "return-supervisor 200"]
    assert people.given_up == {}


async def test_a_task_that_is_refused_again_is_given_up_and_named(desk: ScriptedDesk, people: People) -> None:
    desk.refuses = {("supervisor", "approve"): "task.undetermined", ("supervisor", "return"): "task.role_missing"}
    desk.stop = asyncio.Event()
    await people.work(desk.stop)
    assert desk.looked > 2
    assert len(desk.tried()) == 2, "it was tried again and again"
    assert people.given_up == {
        TASK: "supervisor cannot return review t1 of DW-2026-000023: 403 task.role_missing, "
        "and supervisor 403 task.undetermined"
    }


async def test_who_claimed_what_a_colleague_takes_over_releases_it(desk: ScriptedDesk, people: People) -> None:
    desk.refuses = {("supervisor", "approve"): "task.four_eyes"}
    people.dice.random = lambda: 0.0
    await people.take(TASK)
    did = [(acted.act, acted.status) for acted in desk.acted]
    assert did[:4] == [("claim", 200), ("approve", 403), ("approve", 403), ("release", 200)]
    assert people.given_up == {}


async def test_an_agent_that_never_reads_rightly_is_given_up(desk: ScriptedDesk, people: People) -> None:
    for _ in range(40):
        assert people.given_up == {}
        desk.task = task_of("review", proposal(UNREADABLE, unread=True))
        await people.take(TASK)
    assert people.given_up[TASK].endswith("cannot return review t1 of DW-2026-000023: tried 40 times, at last 200")


async def test_a_task_that_is_anothers_for_ever_is_given_up(desk: ScriptedDesk, people: People) -> None:
    desk.conflict = "task.claimed_by_other"
    for _ in range(40):
        await people.take(TASK)
    assert people.given_up[TASK].endswith("tried 40 times, at last 409 task.claimed_by_other")


class NoStack:
    def database_url(self, role: str) -> str:
        return role

    @staticmethod
    def open_work(database: str) -> dict[str, int]:
        return {"cases": 1, "deliveries": 0, "tasks": 1, "places": 0}


async def test_a_run_ends_where_nothing_is_left_but_what_was_given_up(
    desk: ScriptedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = runner.Plan(cases=1, seed=1, rage_s=0, settle_s=3600)
    run = runner._Run(plan, cast("Stack", NoStack()), desk, cast("SmallDisk", None), {})
    run._people.given_up[TASK] = "why"
    monkeypatch.setattr(runner, "_open_work", NoStack.open_work)
    applying = asyncio.create_task(asyncio.sleep(0))
    working = asyncio.create_task(asyncio.Event().wait())
    await applying
    settled, left = await run._settle(cast("Any", applying), cast("Any", working))
    working.cancel()
    assert (settled, left["tasks"]) == (None, 1)
