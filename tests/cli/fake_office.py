"""A fake of the service for one case, as the demo sees it. Not the real routes, nor the real order of things."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import rfc8785

from diwan.cli.client import Client
from diwan.cli.credentials import AsRole
from diwan.cli.demo_play import Played, Player
from diwan.cli.demo_samples import Sample

Json = dict[str, Any]


class FakeOffice:
    """A fake of the service for one case: it stands at each of `stops` in turn; a stop is left by an act or an event.

    A stop is (step, kind, roles, proposer); `asked` has every act and event as (user, what).
    """

    def __init__(self, *stops: tuple[str, str, list[str], str]) -> None:
        self.stops = list(stops)
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Json] = []
        self.events: list[Json] = []
        self.blocked = ""
        self.at = 0

    def view(self) -> Json:
        if self.at >= len(self.stops):
            return {"id": "c", "number": "N-1", "version": 9, "status": "closed", "step": "closed", "visit": 1} | {
                "kind": "end",
                "blocked": "",
                "result": "granted",
                "letters": [],
                "tasks": [],
            }
        step, kind, roles, proposer = self.stops[self.at]
        task = {"id": f"t{self.at}", "kind": step, "step": step, "status": "open", "roles": roles, "proposer": proposer}
        view = {"id": "c", "number": "N-1", "version": self.at, "status": "open", "step": step, "visit": self.at}
        return view | {"kind": kind, "blocked": self.blocked, "result": None, "tasks": [task] if kind == "task" else []}

    def client(self, user: str) -> Client:
        def answer(request: httpx.Request) -> httpx.Response:
            request.read()
            return httpx.Response(200, json=self.answer(user, request))

        return Client("http://127.0.0.1:1", lambda: "t", transport=httpx.MockTransport(answer))

    def answer(self, user: str, request: httpx.Request) -> Json:
        path = request.url.path
        if path == "/v1/events":
            event = _event_in(request)
            self.events.append(event)
            self.asked.append((user, str(event["type"])))
            self.at += event["type"] != "diwan.application.submitted"
            return {"case": "c", "number": "N-1"}
        if path.startswith("/v1/tasks/") and request.method == "GET":
            shown = {"at": self.at}
            return {"shown": shown, "digest": digest_of_shown(shown)}
        if path.startswith("/v1/tasks/"):
            verb = path.rpartition("/")[2]
            self.asked.append((user, verb))
            self.bodies.append(json.loads(request.content))
            self.at += verb != "claim"
            return {}
        return {"items": []} if path.endswith("/story") else self.view()

    def play(self, sample: Sample, *, seconds: float = 5.0) -> Played:
        users = {role.value: self.client(role.value) for role in AsRole}
        return Player(users, lambda: seconds, lambda pause: None, lambda text: None).play(sample)


def digest_of_shown(shown: Json) -> str:
    return hashlib.sha256(rfc8785.dumps(shown)).hexdigest()


def _event_in(request: httpx.Request) -> Json:
    """The CloudEvent of a structured or multipart body."""
    content = request.content
    if content.startswith(b"{"):
        return dict(json.loads(content))
    return dict(json.loads(content.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]))
