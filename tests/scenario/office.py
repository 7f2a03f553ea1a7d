"""A small client for scenarios: the people of the demo ministry and its portal, over HTTP like everybody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from diwan.embedded.issuer import fetch_token
from diwan.embedded.supervisor import Stack

Json = dict[str, Any]
SOURCE = "urn:diwan:counter"
PATIENCE_S = 60.0
EXAMPLE = Path(__file__).resolve().parents[2] / "diwan" / "examples" / "direct-housing-aid" / "dossiers"


@dataclass
class Office:
    """`home` is the stack's; each call is made as one demo user (`clerk`, `authority`, …)."""

    stack: Stack
    http: httpx.AsyncClient

    async def call(self, user: str, method: str, path: str, **more: Any) -> httpx.Response:
        """The answer, whatever its status."""
        token = await asyncio.to_thread(fetch_token, self.stack.home.path, user)
        headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
        return await self.http.request(method, self.stack.urls.web + path, headers=headers, **more)

    async def get(self, user: str, path: str) -> Json:
        answer = await self.call(user, "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def send(self, event: Json, files: dict[str, bytes] | None = None) -> httpx.Response:
        """A CloudEvent with its documents, as the portal sends it."""
        parts: list[tuple[str, Any]] = [
            ("event", ("event.json", json.dumps(event).encode(), "application/cloudevents+json"))
        ]
        parts += [(name, (name, data, "application/octet-stream")) for name, data in (files or {}).items()]
        return await self.call("intake", "POST", "/v1/events", files=parts)

    async def submit(self, folder: Path, reference: str, **changes: Any) -> Json:
        """A dossier's folder as an opening event under a reference of its own."""
        application = json.loads((folder / "application.json").read_text()) | {"reference": reference} | changes
        files = {path.name: path.read_bytes() for path in sorted((folder / "documents").iterdir())}
        named: Json = application.pop("documents", {})
        application["documents"] = [{"name": n, "part": n, "piece": named.get(n, "")} for n in files]
        answer = await self.send(opening(reference, application), files)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def case_when(self, case: str, arrived: Callable[[Json], bool], *, within_s: float = PATIENCE_S) -> Json:
        """The case once `arrived` holds of it. Asks again with growing pauses, and gives up after `within_s`."""
        pause, left = 0.05, within_s
        while True:
            view = await self.get("supervisor", f"/v1/cases/{case}")
            if arrived(view):
                return view
            assert not view["blocked"], f"{case} is blocked at {view['step']}: {view['blocked']}"
            assert left > 0, f"{case} stays at {view['step']} ({view['status']}, {view['blocked']})"
            await asyncio.sleep(pause)
            left -= pause
            pause = min(pause * 1.5, 1.0)

    async def at(self, case: str, step: str, visit: int = 1) -> Json:
        """The open task of a step, with what it shows, once the case is there."""

        def there(view: Json) -> bool:
            return (view["step"], view["visit"]) == (step, visit) and bool(open_here(view))

        (task,) = open_here(await self.case_when(case, there))
        return await self.get("clerk", f"/v1/tasks/{task['id']}")

    async def act(self, user: str, task: Json, verb: str, *, key: str = "", **given: Any) -> httpx.Response:
        body = {"digest": task["digest"], **given}
        headers = {"idempotency-key": key or f"{user}-{verb}-{task['id']}-{task['digest'][:12]}"}
        return await self.call(user, "POST", f"/v1/tasks/{task['id']}/{verb}", json=body, headers=headers)

    async def approve(self, user: str, task: Json) -> None:
        answer = await self.act(user, task, "approve")
        assert answer.status_code == 200, answer.text

    async def closed(self, case: str) -> Json:
        return await self.case_when(case, lambda view: view["status"] == "closed")


def open_here(view: Json) -> list[Json]:
    """The tasks that wait for somebody at the case's step: none once it is answered, until the case has gone on."""
    return [task for task in view["tasks"] if task["status"] == "open" and task["step"] == view["step"]]


def opening(reference: str, application: Json) -> Json:
    return {
        "specversion": "1.0",
        "id": f"event-{reference}",
        "source": SOURCE,
        "type": "diwan.application.submitted",
        "datacontenttype": "application/json",
        "data": application,
    }


def follow_up(kind: str, number: str, event_id: str, data: Json) -> Json:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": kind,
        "subject": number,
        "datacontenttype": "application/json",
        "data": data,
    }
