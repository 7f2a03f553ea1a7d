"""/v1/cases/{case}/calls: the model calls of a case, and sending one again to compare what is answered."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path
from pydantic import BaseModel, ConfigDict

from agents.compare import Difference
from diwan.domain.actor import Actor
from diwan.domain.errors import Conflict, InvalidInput, NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.rerun import WORDS, Known, Outcome, Side, meaning_of, mismatch
from diwan.store.call_records import CallRecord, call_record, call_records
from diwan.store.change import CaseRow, change_case
from diwan.store.pool_hosts import LIVE_S, SERVING, HostRow, hosts
from diwan.store.reruns import (
    RerunRow,
    ask_rerun,
    fit_hosts,
    get_rerun,
    opened_report,
    rerun_by_key,
    side_of,
)
from diwan.store.sealing import is_destroyed
from diwan.web.api import reads
from diwan.web.api.callers import AuditorOrSupervisor, visible_case
from diwan.web.api.reads import Reading
from diwan.web.api.views import Page
from diwan.web.dependencies import Dependencies, Deps

router = APIRouter(prefix="/v1/cases", tags=["cases"])

_KEY_LENGTH = 200
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=_KEY_LENGTH,
        description="required; the same key again gives the same rerun and sends nothing",
    ),
]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="of the call in its case, from 1")]


class CallView(BaseModel):
    """A model call as the ledger has it. What is empty, or unknown, was not recorded. `used`: its answer counted.

    `rerunnable`: whether it can be sent again now, to one of `hosts`, the best first; else `why_not` says why: no_hosts
    (no host serves at all), no_such_host (none with the same digests), erased, broken (its answer was not read to its
    end).
    """

    model_config = ConfigDict(protected_namespaces=())

    number: int
    at: datetime
    run: str
    step: str
    visit: int
    call: int
    attempt: int
    used: bool
    answered_by: Side
    temperature: str
    seed: int | None
    rerunnable: bool
    why_not: str
    hosts: list[str]


class RerunView(BaseModel):
    """A call sent again. `status`: asked, identical, differs, not_run (for `reason`). `meaning` is what that shows, and
    `words` the same for people.

    `then` and `now` are what answered; `same` says of each thing whether it is: yes, no, unknown. `tokens`: whether the
    answers' tokens were compared, besides what they say. `first` is where they first differ, in tokens where both have
    them, and `said` where the words then do. Both quote the answers.
    """

    id: str
    case: str
    number: int
    status: Outcome
    reason: str
    meaning: str
    words: str
    asked_by: str
    asked_at: datetime
    ended_at: datetime | None
    temperature: str
    seed: int | None
    then: Side
    now: Side | None
    same: dict[str, Known]
    tokens: bool | None
    first: Difference | None
    said: Difference | None


@router.get("/{case}/calls", summary="The case's model calls, in order, and whether each can be sent again now")
async def list_(deps: Deps, actor: AuditorOrSupervisor, reading: Reading, case: str) -> Page[CallView]:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
        records = await call_records(conn, actor.tenant, found.id)
        there = await hosts(conn, seen_within_s=LIVE_S)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="calls")
    cipher = await deps.cipher(actor.tenant, found.id)
    return Page(items=[_call(record, there, cipher) for record in records])


@router.post(
    "/{case}/calls/{number}/reruns",
    status_code=202,
    summary="Send a recorded model call again, to a host with the same digests",
    description="Needs the header Idempotency-Key. The case stands as it stands; who asked, and what came of it, is on "
    "its ledger. Ask for the rerun by its id until it has ended: it waits behind every other call for room on a host.",
)
async def ask(
    deps: Deps,
    actor: AuditorOrSupervisor,
    reading: Reading,
    case: str,
    number: Number,
    idempotency_key: IdempotencyKey = "",
) -> RerunView:
    key = _key(idempotency_key)
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
        before = await rerun_by_key(conn, actor.tenant, actor, key)
        record = await call_record(conn, actor.tenant, found.id, number)
        there = await hosts(conn, seen_within_s=LIVE_S)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="rerun")
    cipher = await deps.cipher(actor.tenant, found.id)
    if before is None:
        _demand(record, there, cipher)
        before = await _asked(deps, actor, found, record, cipher, key)
    if (before.case_id, before.number) != (found.id, number):
        raise Conflict("rerun.key_used", "This key was used for another call.", "Send a new random key.")
    return _rerun(before, record, cipher)


@router.get("/{case}/reruns/{rerun}", summary="What came of a call that was sent again")
async def show(deps: Deps, actor: AuditorOrSupervisor, reading: Reading, case: str, rerun: str) -> RerunView:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
        row = await get_rerun(conn, actor.tenant, found.id, rerun)
        record = await call_record(conn, actor.tenant, found.id, row.number)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="rerun")
    return _rerun(row, record, await deps.cipher(actor.tenant, found.id))


async def _asked(
    deps: Dependencies, actor: Actor, case: CaseRow, record: CallRecord, cipher: Cipher, key: str
) -> RerunRow:
    """The row of this key: made, unless the same was asked meanwhile."""
    now = await deps.stamp(actor.tenant)
    async with deps.db.transaction(actor.tenant) as conn, change_case(conn, actor.tenant, case.id, now=now) as change:
        row = await rerun_by_key(conn, actor.tenant, actor, key)
        if row is not None:
            change.unchanged()
            return row
        rerun = uuid.uuid4().hex
        await ask_rerun(change, record, actor, cipher, rerun=rerun, key=key)
        return await get_rerun(conn, actor.tenant, case.id, rerun)


def _demand(record: CallRecord, there: Sequence[HostRow], cipher: Cipher) -> None:
    """Raises where it cannot be sent again now, and says what would be needed."""
    why = _why_not(record, there, cipher)
    if not why:
        return
    if why == "erased":
        raise NotFound("rerun.erased", "What was asked and answered is erased.", "It cannot be had back.")
    if why == "broken":
        raise Conflict("rerun.broken", "The recorded answer did not come to its end: there is nothing to compare.")
    then = record.then
    wanted = ", ".join(
        f"{name} {value}"
        for name, value in (
            ("model", then.model),
            ("weights", then.weights_digest),
            ("tokenizer", then.tokenizer_digest or "not recorded"),
            ("engine", then.engine_version or then.fingerprint or "not recorded"),
        )
    )
    said = "; ".join(f"{host.host} ({mismatch(then, side_of(host))} differs)" for host in _serving(there)) or "none"
    raise Conflict(
        "rerun.no_host",
        f"No host is what answered then. Wanted: {wanted}. Hosts that serve now: {said}.",
        "Start one with these digests and this engine (`diwan pool serve`), then ask again.",
    )


def _why_not(record: CallRecord, there: Sequence[HostRow], cipher: Cipher) -> str:
    if is_destroyed(cipher, RetentionClass.EXCHANGE):
        return "erased"
    if record.broken:
        return "broken"
    if not _serving(there):
        return "no_hosts"
    return "" if fit_hosts(record.then, there) else "no_such_host"


def _serving(there: Sequence[HostRow]) -> list[HostRow]:
    return [host for host in there if host.state == SERVING]


def _call(record: CallRecord, there: Sequence[HostRow], cipher: Cipher) -> CallView:
    why = _why_not(record, there, cipher)
    return CallView(
        number=record.number,
        at=record.at,
        run=record.run,
        step=record.step,
        visit=record.visit,
        call=record.call,
        attempt=record.attempt,
        used=record.used,
        answered_by=record.then,
        temperature=record.temperature,
        seed=record.seed,
        rerunnable=not why,
        why_not=why,
        hosts=[] if why else [host.host for host in fit_hosts(record.then, there)],
    )


def _rerun(row: RerunRow, record: CallRecord, cipher: Cipher) -> RerunView:
    report = None if is_destroyed(cipher, RetentionClass.EXCHANGE) else opened_report(row, cipher)
    meaning = meaning_of(row.status, row.conditions)
    return RerunView(
        id=row.id,
        case=row.case_id,
        number=row.number,
        status=row.status,
        reason=row.reason,
        meaning=meaning.value,
        words=WORDS[meaning],
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        ended_at=row.ended_at,
        temperature=record.temperature,
        seed=record.seed,
        then=record.then,
        now=row.conditions.now if row.conditions else None,
        same=row.conditions.same() if row.conditions else {},
        tokens=report.tokens if report else None,
        first=report.first if report else None,
        said=report.said if report else None,
    )


def _key(key: str) -> str:
    if key and key.isprintable():
        return key
    raise InvalidInput(
        "rerun.key_missing",
        f"A rerun needs the header Idempotency-Key, of at most {_KEY_LENGTH} printable characters.",
        "Send a new random key (a UUID) with each, and the same one when you repeat it.",
    )
