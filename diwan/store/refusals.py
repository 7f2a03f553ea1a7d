"""What was refused is on record: an entry on a chain of the one who tried, in a transaction of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import structlog

from diwan.domain.actor import Actor
from diwan.domain.errors import DiwanError
from diwan.ledger.entry import Scalar
from diwan.store.database import Database
from diwan.store.entries import append_entry, subject_chain

log = structlog.get_logger()


def refusals_chain(subject: str) -> str:
    """The chain of what was refused to a subject."""
    return subject_chain("refusals", subject)


async def record_refusal(
    db: Database, actor: Actor, kind: str, error: DiwanError, *, now: datetime, detail: Mapping[str, Scalar]
) -> None:
    """Writes that `actor` was refused something and why (`error.code`).

    `kind` is an entry's (`event:event:refused`, `task:act:refused`); `detail` names what was tried by ids, cut to
    what a header may hold. Raises `Unavailable` where it cannot be written: what is refused is not hidden by a
    database that is down.
    """
    said: dict[str, Scalar] = {"code": error.code}
    said.update({name: value[:200] if isinstance(value, str) else value for name, value in detail.items()})
    async with db.transaction(actor.tenant) as conn:
        await append_entry(conn, actor.tenant, refusals_chain(actor.subject), kind, actor, now=now, detail=said)
    log.info("request.refused", tenant=actor.tenant, kind=kind, code=error.code)
