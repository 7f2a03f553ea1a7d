"""Owns how a sample dossier is played: sent, followed, and acted on through the API, as `diwan task` does it.

Nothing is asked of the database or of Temporal here: what a person could not see or do, the demo cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from diwan.cli.client import Client, pages
from diwan.cli.demo_samples import Act, Sample
from diwan.cli.dossier import follow_up_event, opening_event
from diwan.cli.following import follow, needs_a_person, read_case
from diwan.cli.submit import DEFAULT_SOURCE
from diwan.cli.task import act_on, digest_of, read_task
from diwan.domain.errors import Final

Json = dict[str, Any]

_OPEN = ("open", "claimed")
_MOST_STEPS = 40


class Unexpected(Final):
    """A sample dossier went a way on which it cannot go on."""


@dataclass(frozen=True)
class Letter:
    """A letter as it went out: its kind, what it was set from, the PDF."""

    kind: str
    content: Json
    pdf: bytes


@dataclass(frozen=True)
class Played:
    """A dossier at its end, as an auditor sees it. `surprises` are acts that were needed or left over."""

    sample: Sample
    case: Json
    story: list[Json]
    letters: list[Letter]
    surprises: list[str]


@dataclass(frozen=True)
class Player:
    """Plays dossiers. `users` has a client for each demo user; `left` gives seconds."""

    users: Mapping[str, Client]
    left: Callable[[], float]
    sleep: Callable[[float], None]
    tell: Callable[[str], None]

    def play(self, sample: Sample) -> Played:
        """Send the dossier and act until its case ends. Raises Unexpected, and what the service refuses."""
        return _Case(self, sample).to_its_end()


class _Case:
    def __init__(self, player: Player, sample: Sample) -> None:
        self._player = player
        self._sample = sample
        self._acts = list(sample.acts)
        self._sendings = list(sample.sendings)
        self._surprises: list[str] = []
        self._id = self._number = ""

    def to_its_end(self) -> Played:
        self._open()
        seen: tuple[str, int] | None = None
        for _ in range(_MOST_STEPS):
            view = self._next(seen)
            if view["status"] == "closed":
                return self._read()
            seen = (view["step"], view["visit"])
            sending = next((each for each in self._sendings if each.at == view["step"]), None)
            if sending is not None:
                self._sendings.remove(sending)
                event = follow_up_event(sending.type, self._number, sending.data, sending.files, source=DEFAULT_SOURCE)
                self._player.users["intake"].send_event(event.event, event.parts)
                self._tell(view, f"the applicant sends {sending.type}")
            elif self._act(view) == "edit":
                seen = None  # the task is shown anew, to another person, at the same visit
        raise self._unexpected("endless", f"has not ended after {_MOST_STEPS} steps")

    def _open(self) -> None:
        sent = opening_event(self._sample.dossier, source=DEFAULT_SOURCE)
        accepted = self._player.users["intake"].send_event(sent.event, sent.parts)
        self._id, self._number = str(accepted["case"]), str(accepted["number"])
        self._player.tell(f"{self._number}  {self._sample.name}: accepted")

    def _next(self, seen: tuple[str, int] | None) -> Json:
        """The case once it has left the visit `seen`, and is closed or needs somebody."""

        def arrived(view: Json) -> bool:
            moved = view["status"] == "closed" or (view["step"], view["visit"]) != seen
            return bool(view["blocked"]) or (moved and needs_a_person(view))

        player = self._player
        view = follow(player.users["supervisor"], self._id, arrived, seconds=player.left(), sleep=player.sleep)
        if view["blocked"]:
            raise self._unexpected("blocked", f"is blocked at {view['step']}: {view['blocked']}")
        return view

    def _act(self, view: Json) -> str:
        task = next((each for each in view["tasks"] if each["status"] in _OPEN and each["step"] == view["step"]), None)
        if task is None:
            raise self._unexpected("stuck", f"waits at {view['step']} for what nobody sends")
        planned = next((act for act in self._acts if act.task == task["kind"]), None)
        if planned is not None:
            self._acts.remove(planned)
        else:
            planned = Act(task["kind"], _who_may(task), "approve", "", {})
            self._surprises.append(f"a person had to act on a task {task['kind']}")
        client = self._player.users[planned.by]
        act_on(client, task["id"], "claim", {})
        body = {"digest": digest_of(read_task(client, task["id"])), "reason": planned.reason}
        act_on(client, task["id"], planned.verb, {**body, "changes": planned.changes})
        self._tell(view, f"{planned.by}: {planned.verb}")
        return planned.verb

    def _read(self) -> Played:
        auditor = self._player.users["auditor"]
        view = read_case(auditor, self._id)
        letters = [
            Letter(
                letter["kind"],
                auditor.get(letter["address"], {"format": "json"}),
                auditor.download(letter["address"]),
            )
            for letter in cast("list[Json]", view["letters"])
        ]
        story = list(pages(auditor, f"/v1/cases/{self._id}/story", {}, limit=10_000))
        left = [f"nobody was asked to {act.verb} a task {act.task}" for act in self._acts]
        left += [f"{sending.type} was never due" for sending in self._sendings]
        self._player.tell(f"{self._number}  {self._sample.name}: {view['result']}")
        return Played(self._sample, view, story, letters, self._surprises + left)

    def _tell(self, view: Json, what: str) -> None:
        self._player.tell(f"{self._number}  {self._sample.name}: {view['step']}, {what}")

    def _unexpected(self, code: str, what: str) -> Unexpected:
        return Unexpected(f"demo.{code}", f"{self._sample.name} ({self._number}) {what}.")


def _who_may(task: Json) -> str:
    """A demo user who holds one of the task's roles and did not make the proposal."""
    return next((role for role in task["roles"] if f"demo-{role}" != task["proposer"]), "supervisor")
