"""A portal that loses nothing: sends each event until it is acknowledged, doubled, out of order; logs each try."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from diwan.cli.demo_samples import Sending
from tests.faults.desk import AGAIN, Answer, Desk, row_of
from tests.faults.dossiers import SOURCE, SUBMITTED, SUPPLIED, WITHDRAWN, Application, Event, application, event
from tests.faults.evidence import Row, Sent

_PAUSE_S = 2.0


@dataclass
class Portal:
    """Sends `cases` applications and what follows them. `cases` are those acknowledged, by id.

    `results` has by case how it may end; `due` at which steps its applicant is about to send something; `refused` what
    the service did not take, which it should have.
    """

    desk: Desk
    seed: int
    counts: Counter[str] = field(default_factory=Counter[str])
    results: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    applications: dict[str, Application] = field(default_factory=dict[str, Application])
    due: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    refused: list[str] = field(default_factory=list[str])

    async def apply(self, number: int) -> None:
        """One applicant's way, to the last event of it. Returns when all of them are acknowledged."""
        dice = random.Random(f"{self.seed}/{number}")  # noqa: S311 - to be repeated, not to be secret
        made = await asyncio.to_thread(application, number, dice)
        accepted = await self.send(made.opening, twice=dice.random() < 0.3)
        case, of_case = str(accepted.get("case")), str(accepted.get("number"))
        self.results[case] = {made.result}
        self.due[case] = {sending.at for sending in made.sendings}
        self.applications[case] = made
        if dice.random() < 0.15:  # before anyone can have read the dossier
            await self._early(number, case, of_case, dice)
        for position, sending in enumerate(made.sendings):
            await self._when_at(case, sending.at)
            await self.send(self._follow_up(number, position, of_case, sending), twice=dice.random() < 0.5)
            self.due[case].discard(sending.at)
        if dice.random() < 0.3:  # an old event comes once more, after all that followed it
            self.counts["sent again out of order"] += 1
            await self.send(made.opening)
        if dice.random() < 0.2:  # the same application under another id is the same application
            self.counts["sent under a second id"] += 1
            await self.send(Event({**made.opening.event, "id": f"{made.opening.id}-again"}, made.opening.files))
        if dice.random() < 0.1:
            self.counts["strays"] += 1
            said: Row = {"note": f"invented, of nobody's case, {number}"}
            await self.send(event(f"stray-{number:05d}", SUPPLIED, f"DW-1999-{number:06d}", said))

    async def _early(self, number: int, case: str, of_case: str, dice: random.Random) -> None:
        """A follow-up on the heels of the application; a withdrawal may still come too late to count."""
        self.counts["sent early"] += 1
        if dice.random() < 0.5:
            self.results[case] |= {"withdrawn"}
            await self.send(event(f"early-{number:05d}", WITHDRAWN, of_case, {"note": "invented"}), twice=True)
        else:
            await self.send(event(f"early-{number:05d}", SUPPLIED, of_case, {"note": "invented"}), twice=True)

    def _follow_up(self, number: int, position: int, of_case: str, sending: Sending) -> Event:
        return event(f"follow-{number:05d}-{position}", sending.type, of_case, dict(sending.data), sending.files)

    async def _when_at(self, case: str, step: str) -> None:
        """Once the case has come to a step, or has passed it."""
        while True:
            view = row_of(await self.desk.call("supervisor", "GET", f"/v1/cases/{case}"))
            if view.get("step") == step or view.get("status") == "closed":
                return
            await asyncio.sleep(_PAUSE_S)

    async def send(self, made: Event, *, twice: bool = False) -> Row:
        """Until it is acknowledged; `twice`: by two at once. Gives the answer."""
        self.counts["events"] += 1
        if twice:
            self.counts["sent doubled"] += 1
            answers = await asyncio.gather(self._until_acknowledged(made), self._until_acknowledged(made))
            return row_of(answers[0])
        return row_of(await self._until_acknowledged(made))

    async def _until_acknowledged(self, made: Event) -> Answer:
        answer = await self.desk.until_answered(lambda: self._try(made))
        if answer.status != 202:
            self.refused.append(f"{made.id}: {answer.status} {row_of(answer).get('code', '')}")
        return answer

    async def _try(self, made: Event) -> Answer:
        parts: list[tuple[str, Any]] = [("event", ("event.json", json.dumps(made.event).encode(), _STRUCTURED))]
        parts += [(name, (name, content, "application/octet-stream")) for name, content in made.files.items()]
        answer = await self.desk.call("intake", "POST", "/v1/events", files=parts)
        said = row_of(answer)
        status = 0 if answer.status in AGAIN else answer.status
        place = (str(said.get("case") or ""), str(said.get("number") or "")) if status == 202 else ("", "")
        self.desk.wrote(Sent(SOURCE, made.id, made.body, status, *place))
        return answer


_STRUCTURED = "application/cloudevents+json"
__all__ = ["SUBMITTED", "Portal"]
