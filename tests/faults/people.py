"""The people of the ministry: they look at the worklist and act, and repeat an act under its key until it is answered.

What an agent could not do they send back to it; what is sent back too often means that the engine does not recover.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.desk import AGAIN, Answer, Desk, row_of
from tests.faults.dossiers import Application
from tests.faults.evidence import Acted, Row
from tests.faults.sender import Portal

_LOOK_S = 1.0
_WHO = {"review": "clerk", "request_pieces": "clerk", "sign": "authority"}


@dataclass(frozen=True)
class _Act:
    by: str
    verb: str
    reason: str = ""
    changes: Row = field(default_factory=dict[str, object])


@dataclass
class People:
    """`unwelcome` are answers that nobody had to expect."""

    desk: Desk
    portal: Portal
    dice: random.Random
    counts: Counter[str] = field(default_factory=Counter[str])
    unwelcome: list[str] = field(default_factory=list[str])
    _busy: set[str] = field(default_factory=set[str])

    async def work(self, stop: asyncio.Event) -> None:
        """Until `stop`: each open task once at a time."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                listed = row_of(await self.desk.call("supervisor", "GET", "/v1/tasks?limit=100"))
                for task in listed.get("items", []):
                    if task["id"] not in self._busy:
                        self._busy.add(task["id"])
                        group.create_task(self._one(task))
                await asyncio.sleep(_LOOK_S)

    async def _one(self, listed: Row) -> None:
        try:
            shown = await self.desk.until_answered(
                lambda: self.desk.call("supervisor", "GET", f"/v1/tasks/{listed['id']}")
            )
            if shown.status == 200 and shown.body["status"] in ("open", "claimed"):
                await self._act(shown.body)
        finally:
            self._busy.discard(listed["id"])

    async def _act(self, task: Row) -> None:
        act = self._choose(task)
        if act is None:
            return
        key = f"{act.verb}-{task['id']}-{task['digest'][:16]}"
        if self.dice.random() < 0.3:
            claimed = await self._until_answered(task, _Act(act.by, "claim"), f"claim-{key}")
            if claimed.status != 200:
                return
        given = {"digest": task["digest"], "reason": act.reason, "changes": act.changes}
        answers = [await self._until_answered(task, act, key, given)]
        if self.dice.random() < 0.2:  # the same again, as after an answer that got lost
            answers.append(await self._until_answered(task, act, key, given))
        self.counts[f"{act.verb} {task['kind']}"] += 1
        said = {answer.status for answer in answers}
        if len(said) > 1:
            self.unwelcome.append(f"{act.verb} {task['id']}: the same act was answered {sorted(said)}")
        # The case may have moved on meanwhile: then the task is gone or shows something else, and is looked at again.
        if said - {200, 409}:
            code = row_of(answers[0]).get("code", "")
            self.unwelcome.append(f"{act.verb} {task['kind']} {task['id']}: {answers[0].status} {code}")

    async def _until_answered(self, task: Row, act: _Act, key: str, given: Row | None = None) -> Answer:
        async def once() -> Answer:
            answer = await self.desk.call(
                act.by,
                "POST",
                f"/v1/tasks/{task['id']}/{act.verb}",
                json=given or {},
                headers={"idempotency-key": key},
            )
            status = 0 if answer.status in AGAIN else answer.status
            self.desk.wrote(Acted(task["id"], key, act.verb, status))
            return answer

        return await self.desk.until_answered(once)

    def _choose(self, task: Row) -> _Act | None:
        if task["kind"] == "late_event":
            return _Act("clerk", "approve")
        if task["kind"] == "stray_event":
            return self._file()
        made = self.portal.applications.get(str(task["case"]))
        proposal = (task["shown"] or {}).get("proposal")
        if made is None or proposal is None:
            return None  # its sender does not know yet that it has a case
        if task["step"] in self.portal.due[str(task["case"])]:
            return None  # its applicant is about to send something: who acts first would be chance
        if any(warning.startswith("agent_failed") for warning in proposal["warnings"]):
            self.counts["agent failed"] += 1
            return _Act(_WHO[task["kind"]], "return", reason="Nobody has read it. Again, please.")
        return _planned(made, task, proposal)

    def _file(self) -> _Act:
        if self.portal.applications and self.dice.random() < 0.5:
            made = self.dice.choice(list(self.portal.applications))
            return _Act("clerk", "edit", reason="It is of this case.", changes={"case": made})
        return _Act("clerk", "approve")


def _planned(made: Application, task: Row, proposal: Row) -> _Act:
    """What the sample says that people do; an edit that is in the proposal already is not made again."""
    for act in (each for each in made.acts if each.task == task["kind"]):
        by_person = {fact["name"] for fact in proposal["facts"] if fact["by_person"]}
        if act.verb != "edit":
            edited = bool(proposal["editors"]) and act.by == "clerk" and task["kind"] == "review"
            return _Act("supervisor" if edited else act.by, act.verb, act.reason)
        if not set(act.changes) <= by_person:
            return _Act(act.by, act.verb, act.reason, dict(act.changes))
    if task["kind"] == "request_pieces":
        # An engine that answers nonsense misses pieces that are there: nobody would ever send them.
        return _Act(_WHO[task["kind"]], "return", reason="All of it is there. Again, please.")
    return _Act(_WHO[task["kind"]], "approve")
