"""Puts refused requests on record, but no more of them than a bound: a flood of refusals may not fill the ledger.

The first refusals of a subject within a minute have an entry each. Later ones are counted, and the count is written
with the next entry. Who has no valid token has no chain to write to: such requests are logged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from diwan.domain.actor import Actor
from diwan.domain.errors import Refused
from diwan.store.database import Database
from diwan.store.refusals import record_refusal

log = structlog.get_logger()

KIND = "api:request:refused"
_WINDOW = timedelta(minutes=1)
_MOST_SUBJECTS = 10_000


@dataclass
class _Recent:
    since: datetime
    written: int = 0
    unwritten: int = 0


class RefusalRecorder:
    """Called with the actor (None when unknown), the error's code and `METHOD /route/{template}`."""

    def __init__(self, db: Database, clock: Callable[[], datetime], per_minute: int) -> None:
        self._db = db
        self._clock = clock
        self._per_minute = per_minute
        self._recent: OrderedDict[tuple[str, str], _Recent] = OrderedDict()

    async def __call__(self, actor: Actor | None, code: str, route: str) -> None:
        if actor is None:
            return
        now = self._clock()
        recent = self._of(actor, now)
        if recent.written >= self._per_minute:
            recent.unwritten += 1
            log.warning("web.refusal_counted", tenant=actor.tenant, code=code, route=route)
            return
        recent.written += 1
        uncounted, recent.unwritten = recent.unwritten, 0
        detail: dict[str, str | int] = {"route": route}
        if uncounted:
            detail["more_before"] = uncounted
        await record_refusal(self._db, actor, KIND, Refused(code, ""), now=now, detail=detail)

    def _of(self, actor: Actor, now: datetime) -> _Recent:
        who = (actor.tenant, actor.subject)
        recent = self._recent.setdefault(who, _Recent(now))
        self._recent.move_to_end(who)
        if now - recent.since >= _WINDOW:
            recent.since, recent.written = now, 0
        while len(self._recent) > _MOST_SUBJECTS:
            self._recent.popitem(last=False)
        return recent
