"""The people of the ministry: they look at the worklist, act, and repeat an act under its key until it is answered.

They know the dossiers: what an agent could not do, or found otherwise than the papers have it, they send back to it.
Who is refused does what the refusal says, once; a task that then still takes nothing is given up, by its name.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace

from tests.faults.desk import AGAIN, Answer, Desk, row_of
from tests.faults.dossiers import Application
from tests.faults.evidence import Acted, Row
from tests.faults.sender import Portal

_LOOK_S = 1.0
_WHO = {"review": "clerk", "request_pieces": "clerk", "sign": "authority"}
# Who else may act where one has had a hand in a proposal.
_COLLEAGUE = {"clerk": "clerk-2", "supervisor": "clerk-2"}
_OFTEN = 40  # one thing with one task; or sent back in one case, whose agent then does not recover


@dataclass(frozen=True)
class _Act:
    by: str
    verb: str
    reason: str = ""
    changes: Row = field(default_factory=dict[str, object])


@dataclass
class People:
    """`unwelcome` are answers that nobody had to expect; `given_up` has the tasks that nobody may end, and why."""

    desk: Desk
    portal: Portal
    dice: random.Random
    counts: Counter[str] = field(default_factory=Counter[str])
    unwelcome: list[str] = field(default_factory=list[str])
    given_up: dict[str, str] = field(default_factory=dict[str, str])
    _busy: set[str] = field(default_factory=set[str])
    _tried: Counter[str] = field(default_factory=Counter[str])

    async def work(self, stop: asyncio.Event) -> None:
        """Until `stop`: each open task once at a time."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                listed = row_of(await self.desk.call("supervisor", "GET", "/v1/tasks?limit=100"))
                for task in listed.get("items", []):
                    if task["id"] not in self._busy and task["id"] not in self.given_up:
                        self._busy.add(task["id"])
                        group.create_task(self._one(task))
                await asyncio.sleep(_LOOK_S)

    async def _one(self, listed: Row) -> None:
        try:
            await self.take(listed["id"])
        finally:
            self._busy.discard(listed["id"])

    async def take(self, task_id: str) -> None:
        """Looks at a task and does with it what is to be done now, if anything is."""
        shown = await self.desk.until_answered(lambda: self.desk.call("supervisor", "GET", f"/v1/tasks/{task_id}"))
        if shown.status != 200 or shown.body["status"] not in ("open", "claimed"):
            return
        task = shown.body
        act = self._choose(task)
        if act is None:
            return
        answered = await self._act(task, act)
        of = str(task["case"]) if act.verb == "return" else f"{task['id']} {task['digest']}"
        self._tried[of] += 1
        if self._tried[of] >= _OFTEN:
            self._give_up(task, act, f"tried {_OFTEN} times, at last {_said(answered)}")
        if 403 not in answered:
            return
        self.counts[f"refused {answered[403]}"] += 1
        instead = _instead(act, answered[403])
        if instead is None:
            self._give_up(task, act, _said(answered))
        elif 403 in (again := await self._act(task, instead)):
            self._give_up(task, instead, f"{_said(again)}, and {act.by} {_said(answered)}")

    def _give_up(self, task: Row, act: _Act, why: str) -> None:
        where = f"{task['kind']} {task['id']} of {task['number'] or 'no case'}"
        self.given_up[task["id"]] = f"{act.by} cannot {act.verb} {where}: {why}"

    async def _act(self, task: Row, act: _Act) -> dict[int, str]:
        """Does the act, claimed first at times; gives the statuses of the answers with their codes."""
        key = f"{act.verb}-{act.by}-{task['id']}-{task['digest'][:16]}"
        answers: list[Answer] = []
        if claimed := self.dice.random() < 0.3:
            answers.append(await self._until_answered(task, _Act(act.by, "claim"), f"claim-{key}"))
        if all(answer.status == 200 for answer in answers):
            given = {"digest": task["digest"], "reason": act.reason, "changes": act.changes}
            answers.append(await self._until_answered(task, act, key, given))
            if self.dice.random() < 0.2:  # the same again, as after an answer that got lost
                answers.append(await self._until_answered(task, act, key, given))
        codes = {answer.status: str(row_of(answer).get("code", "")) for answer in answers}
        if codes.keys() == {200}:
            self.counts[f"{act.verb} {task['kind']}"] += 1
        # Where the case has moved on meanwhile (409) the task is gone or shows something else, and is looked at again.
        for status in codes.keys() - {200, 403, 409}:
            self.unwelcome.append(f"{act.by} {act.verb} {task['kind']} {task['id']}: {status} {codes[status]}")
        if claimed and 403 in codes:
            await self._until_answered(task, _Act(act.by, "release"), f"release-{key}")
        return codes

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
            told = row_of(answer) if status == 200 else {}
            self.desk.wrote(Acted(task["id"], key, act.verb, status, told))
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
        return planned(made, task, proposal)

    def _file(self) -> _Act:
        if self.portal.applications and self.dice.random() < 0.5:
            made = self.dice.choice(list(self.portal.applications))
            return _Act("clerk", "edit", reason="It is of this case.", changes={"case": made})
        return _Act("clerk", "approve")


def _said(answered: dict[int, str]) -> str:
    return ", ".join(f"{status} {code}".strip() for status, code in answered.items())


def _instead(act: _Act, code: str) -> _Act | None:
    """What a refusal tells its reader to do."""
    if code == "task.undetermined":
        return _Act(act.by, "return", reason="What it rests on is open. Again, please.")
    if code == "task.four_eyes" and act.by in _COLLEAGUE:
        return replace(act, by=_COLLEAGUE[act.by])
    return None


def planned(made: Application, task: Row, proposal: Row) -> _Act:
    """What the sample says that people do, where the agent found what stands in the papers; else it is to read again.

    An edit that is in the proposal already is not made again.
    """
    kind = task["kind"]
    acts = [act for act in made.acts if act.task == kind]
    by_person = {fact["name"] for fact in proposal["facts"] if fact["by_person"]}
    edit = next((act for act in acts if act.verb == "edit" and not set(act.changes) <= by_person), None)
    if not _read_rightly(made, kind, proposal, determined=edit is None):
        return _Act(_WHO[kind], "return", reason="The papers say more. Again, please.")
    if edit is not None:
        return _Act(edit.by, edit.verb, edit.reason, dict(edit.changes))
    act = next((_Act(act.by, act.verb, act.reason) for act in acts if act.verb != "edit"), _Act(_WHO[kind], "approve"))
    second = bool(proposal["editors"]) and act.by == "clerk" and kind == "review"
    return replace(act, by="supervisor") if second else act


def _read_rightly(made: Application, kind: str, proposal: Row, *, determined: bool) -> bool:
    """Whether a proposal is what an agent makes of these papers that has read all of them.

    One that has read nothing may say so in good form: pieces are missing then that came, or facts that stand in them.
    """
    said, at_first = proposal["assessment"], made.expected["at_first"]
    asking = kind == "request_pieces"
    if set(said["missing_pieces"]) != set(at_first["missing_pieces"] if asking else ()):
        return False
    if asking and set(said["unreadable_pieces"]) != set(at_first["unreadable_pieces"]):
        return False
    shown = {fact["name"] for fact in proposal["facts"] if fact["provenance"] == "document"}
    if not said["missing_pieces"] and not set(made.expected["facts"]["document"]) <= shown:
        return False
    return asking or not determined or said["result"] == made.result
