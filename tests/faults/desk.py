"""The way to the service of those outside: one call, one answer or none, and a log of what was answered."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from diwan.domain.errors import DiwanError
from diwan.embedded.issuer import fetch_token
from tests.faults.evidence import Acted, Row, Sent

_TOKEN_S = 120.0
# What says nothing about what was asked: try again.
AGAIN = frozenset({0, 401, 408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Answer:
    """`status` is 0 where none came."""

    status: int
    body: Any = None


@dataclass
class Desk:
    """`home` and `url` are the stack's. `log` keeps each try of each event and act, in order, for the checker."""

    home: Path
    url: Callable[[], str]
    http: httpx.AsyncClient
    log: Path
    statuses: Counter[int] = field(default_factory=Counter[int])
    sent: list[Sent] = field(default_factory=list[Sent])
    acted: list[Acted] = field(default_factory=list[Acted])
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])

    async def call(self, user: str, method: str, path: str, **more: Any) -> Answer:
        """One try, as this demo user."""
        try:
            headers = {"authorization": f"Bearer {await self._token(user)}", **more.pop("headers", {})}
            answer = await self.http.request(method, self.url() + path, headers=headers, **more)
            body = answer.json() if answer.content else None
        except (httpx.HTTPError, DiwanError, ValueError, OSError):
            self.statuses[0] += 1
            return Answer(0)
        self.statuses[answer.status_code] += 1
        if answer.status_code == 401:
            self._tokens.pop(user, None)
        return Answer(answer.status_code, body)

    async def _token(self, user: str) -> str:
        known = self._tokens.get(user)
        if known is None or known[1] < time.monotonic():
            known = (await asyncio.to_thread(fetch_token, self.home, user), time.monotonic() + _TOKEN_S)
            self._tokens[user] = known
        return known[0]

    def wrote(self, what: Sent | Acted) -> None:
        """Into the log, and kept."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": type(what).__name__, **dataclasses.asdict(what)}) + "\n")
        if isinstance(what, Sent):
            self.sent.append(what)
        else:
            self.acted.append(what)

    async def until_answered(self, try_: Callable[[], Any], *, pause_s: float = 0.3) -> Answer:
        """Again and again, with growing pauses, until the answer says something about what was asked."""
        while True:
            answer: Answer = await try_()
            if answer.status not in AGAIN:
                return answer
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.7, 5.0)


def row_of(answer: Answer) -> Row:
    return answer.body if isinstance(answer.body, dict) else {}
