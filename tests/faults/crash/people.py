"""The senders and people of a stack whose processes die: who gets no answer asks again, the very same."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from diwan.embedded.bootstrap import TENANT
from diwan.store.connection import Connection
from diwan.store.database import Database
from tests.faults.evidence import Acted, Delivered, Evidence, Sent
from tests.scenario.office import Json, Office, follow_up

PATIENCE_S = 600.0
_PAUSE_S = 0.3
_PASSING = frozenset({502, 503, 504})


@asynccontextmanager
async def as_owner(url: str) -> AsyncGenerator[Connection]:
    """A transaction of whoever runs the ministry's database: webhooks and settings are theirs to set."""
    db = Database.connect(url, role="diwan_owner", pool_size=1)
    async with db.transaction(TENANT) as conn:
        yield conn
    await db.dispose()


@dataclass
class PatientOffice(Office):
    """Keeps what everybody was told: `sent` and `acted` a try each, `delivered`. Status 0 stands for no answer."""

    sent: list[Sent] = field(default_factory=list[Sent])
    acted: list[Acted] = field(default_factory=list[Acted])
    delivered: list[Delivered] = field(default_factory=list[Delivered])

    def evidence(self) -> Evidence:
        return Evidence(self.stack.database_url("postgres"), self.sent, self.acted, self.delivered)

    async def call(self, user: str, method: str, path: str, **more: Any) -> httpx.Response:
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = await self._tried(user, method, path, **more)
            if answer is not None and answer.status_code not in _PASSING:
                return answer
            assert time.monotonic() < until, f"{method} {path}: {answer.text if answer is not None else 'no answer'}"
            await asyncio.sleep(_PAUSE_S)

    async def _tried(self, user: str, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            answer = await super().call(user, method, path, **more)
        except httpx.TransportError:
            answer = None
        self._keep(method, path, more, answer)
        return answer

    async def case_when(
        self,
        case: str,
        arrived: Callable[[Json], bool],
        *,
        within_s: float = PATIENCE_S,
        though_blocked: bool = False,
    ) -> Json:
        until = time.monotonic() + within_s
        while True:
            view = await self.get("supervisor", f"/v1/cases/{case}")
            if arrived(view):
                return view
            assert though_blocked or not view["blocked"], f"{case} is blocked at {view['step']}: {view['blocked']}"
            assert time.monotonic() < until, f"{case} stays at {view['step']}/{view['visit']} ({view['status']})"
            await asyncio.sleep(_PAUSE_S)

    def _keep(self, method: str, path: str, more: dict[str, Any], answer: httpx.Response | None) -> None:
        status = answer.status_code if answer is not None else 0
        if (method, path) == ("POST", "/v1/events"):
            parts: list[bytes] = [part[1] for _, part in more["files"]]
            event, said = json.loads(parts[0]), answer.json() if answer is not None and answer.is_success else {}
            says = json.dumps([event["type"], event.get("subject"), event["data"]], sort_keys=True).encode()
            digest = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in (says, *parts[1:]))).hexdigest()
            given = (said.get("case") or "", said.get("number") or "")
            self.sent.append(Sent(event["source"], event["id"], digest, status, *given))
        elif method == "POST" and path.startswith("/v1/tasks/"):
            _, _, _, task, verb = path.split("/")
            told = answer.json() if answer is not None and answer.is_success else {}
            self.acted.append(Acted(task, more["headers"]["idempotency-key"], verb, status, told))

    # --- what people do --------------------------------------------------------------------------------------------

    async def upload(self, name: str, content: bytes) -> str:
        """The `ref` of a document that is sent before the event that names it."""
        files = [("document", (name, content, "application/octet-stream"))]
        answer = await self.call("intake", "POST", "/v1/documents", files=files)
        assert answer.status_code == 201, answer.text
        return answer.json()["ref"]

    async def tell(self, kind: str, number: str, event_id: str, data: Json) -> None:
        answer = await self.send(follow_up(kind, number, event_id, data))
        assert answer.status_code == 202, answer.text

    async def done(self, user: str, task: Json, verb: str, **given: Any) -> None:
        """An act, sent until it is answered; claimed first by whoever may."""
        claimed = await self.act(user, task, "claim")
        assert claimed.status_code == 200, claimed.text
        answer = await self.act(user, task, verb, **given)
        assert answer.status_code == 200, answer.text

    async def needed(self, case: str, seen: tuple[str, int] | None = None) -> Json:
        """The case once it has left the visit `seen` and is closed or needs somebody."""

        def arrived(view: Json) -> bool:
            return view["kind"] in ("task", "wait", "end") and (view["step"], view["visit"]) != seen

        return await self.case_when(case, arrived)

    async def play(self, folder: Path, reference: str, **changes: Any) -> Json:
        """A sample dossier, from its event to its end, with the acts that its expected.json names."""
        expected = json.loads((folder / "expected.json").read_text())
        accepted = await self.submit(folder, reference, **changes)
        case, number = accepted["case"], accepted["number"]
        acts: list[Json] = list(expected["acts"])
        sendings = [json.loads(path.read_text()) for path in sorted((folder / "follow-ups").glob("*.json"))]
        seen: tuple[str, int] | None = None
        while (view := await self.needed(case, seen))["status"] != "closed":
            seen = (view["step"], view["visit"])
            due = next((each for each in sendings if each["when"]["step"] == view["step"]), None)
            if due is not None:
                sendings.remove(due)
                names: Json = due.get("documents", {})
                refs = {name: (folder / "follow-ups" / "documents" / name).read_bytes() for name in names}
                documents = [
                    {"name": name, "ref": await self.upload(name, content), "piece": names[name]}
                    for name, content in refs.items()
                ]
                await self.tell(due["type"], number, f"{reference}-told", {"note": due["note"], "documents": documents})
                continue
            (task,) = [each for each in view["tasks"] if each["status"] in ("open", "claimed")]
            act = next(each for each in acts if each["task"] == task["kind"])
            acts.remove(act)
            given = {name: act[name] for name in ("changes", "reason") if name in act}
            await self.done(act["by"], await self.get(act["by"], f"/v1/tasks/{task['id']}"), act["act"], **given)
            if act["act"] == "edit":
                seen = None  # shown anew at the same visit, to another person
        assert acts == sendings == []
        assert view["result"] == expected["result"]
        assert [letter["kind"] for letter in view["letters"]] == expected["letters"]
        return view
