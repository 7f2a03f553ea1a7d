"""The only way to change a case: lock its row, change, write the entry, raise the version. All or nothing.

Lock order, everywhere: the case's row first (FOR NO KEY UPDATE), then its children, then chains outside cases, then
numbering. One case and one version a transaction. No vault, HTTP or model call while the row is locked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Unpack

import orjson
from sqlalchemy import RowMapping

from diwan.domain.actor import Actor
from diwan.domain.case import CaseState, CaseStatus, StepKind
from diwan.domain.clock import SKEW
from diwan.domain.errors import Conflict, Final, NotFound
from diwan.ledger.entry import Scalar, canonical
from diwan.store.connection import ONE_ROW, Connection, Statement
from diwan.store.entries import INSERT_ENTRY, EntryDraft, EntryFields, Place, build_entry
from diwan.tracing import spans


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case's row without the relay's columns. `state` is a copy: changing it changes nothing stored."""

    tenant: str
    id: str
    number: str
    source: str
    reference: str
    procedure: str
    procedure_version: str
    procedure_hash: str
    status: CaseStatus
    language: str
    version: int
    head: bytes
    state: CaseState
    inbox_last: int
    inbox_cursor: int
    kind: StepKind
    wake_at: datetime | None
    blocked: str
    opened_at: datetime
    closed_at: datetime | None
    changed_at: datetime | None
    traceparent: str


COLUMNS = tuple(column.name for column in fields(CaseRow))
SELECT_CASE = f"SELECT {', '.join(COLUMNS)} FROM case_file"  # noqa: S608 - names of our own columns


def case_row(row: RowMapping | Mapping[str, Any]) -> CaseRow:
    """A row of `SELECT_CASE` as a value."""
    return _case_of([row[name] for name in COLUMNS])


def _case_of(row: Sequence[Any]) -> CaseRow:
    """`row` is in the order of `COLUMNS`."""
    values = list(row)
    for at, made in _MADE:
        values[at] = made(values[at])
    return CaseRow(*values)


_MADE: tuple[tuple[int, Callable[[Any], object]], ...] = (
    (COLUMNS.index("status"), CaseStatus),
    (COLUMNS.index("kind"), StepKind),
    (COLUMNS.index("state"), CaseState.model_validate),
)


class Change:
    """A case under its lock. What is set here is written, with one entry, when the block ends.

    Exactly one of `record` and `unchanged` is called: a change without an entry, or two, cannot be. `now` is the
    instant that everything in it is stamped with.
    """

    def __init__(self, conn: Connection, case: CaseRow, state: CaseState, now: datetime) -> None:
        self.conn = conn
        self.case = case
        self.now = _after(case.changed_at, now)
        self.state = state
        self.status = case.status
        self.cursor = case.inbox_cursor
        self.blocked = case.blocked
        self._kind = case.kind
        self._wake_at = case.wake_at
        self._closed_at = case.closed_at
        self._inbox_last = case.inbox_last
        self._closing: Mapping[str, Scalar] = {}
        self._brought: Mapping[str, Scalar] = {}
        self._outbox = 0
        self._draft: EntryDraft | None = None
        self._unchanged = False

    @property
    def version(self) -> int:
        """The version that this change makes."""
        return self.case.version + 1

    def plan(self, kind: StepKind, wake_at: datetime | None) -> None:
        """What comes next: how the workflow carries out `state.step`, and when a date falls due."""
        self._kind = kind
        self._wake_at = wake_at

    def closed(self, at: datetime, counted: Mapping[str, int] | None = None) -> None:
        """The case ends here. `state.result` says how; the entry says so, and what the case came to (`counted`)."""
        self.status = CaseStatus.CLOSED
        self._closed_at = at
        self._closing = {"closes": True, "entries": self.version, **(counted or {})}

    def next_inbox_seq(self) -> int:
        """The number of an event that is stored in this change."""
        self._inbox_last += 1
        return self._inbox_last

    def brought(self, **rows: int) -> None:
        """So many facts or pages came with this change; its entry counts them, for they have none of their own."""
        self._brought = rows

    def announced(self, events: int) -> None:
        """So many events go out to webhooks that tell of this change; its entry counts them."""
        self._outbox += events

    def record(self, kind: str, actor: Actor, **said: Unpack[EntryFields]) -> None:
        """The entry of this change; `EntryFields` says what it may hold. Raises `Final` when called twice."""
        if self._draft is not None or self._unchanged:
            raise Final("change.recorded_twice", "A change has one ledger entry.", "Say everything in one draft.")
        self._draft = EntryDraft(kind, actor, **said)

    def unchanged(self) -> None:
        """There was nothing to do after all (it was done before): no version, no entry, no child changed."""
        if self._draft is not None:
            raise Final("change.recorded_twice", "A recorded change is not unchanged.")
        self._unchanged = True

    def _write(self) -> None:
        if self._unchanged:
            return
        draft = self._draft
        if draft is None:
            raise Final("change.not_recorded", "A change without a ledger entry.", "Call `record` or `unchanged`.")
        case = self.case
        counted = {**self._brought, **self._closing, **({"outbox": self._outbox} if self._outbox else {})}
        was = standing(case)
        # Most entries, those of an agent's calls, leave the case standing where it stood.
        stands = self._standing(was["state"] if self.state == case.state else self.state.model_dump(mode="json"))
        states: dict[str, bytes] = {}
        if draft.cipher is not None:
            before = canonical(was)
            states = {"state_before": before, "state_after": before if stands == was else canonical(stands)}
        draft.commitments = {**states, **draft.commitments}
        draft.detail = {**_turned(case, self.status, self.state), **draft.detail, **counted}
        place = Place(
            *(case.tenant, case.id, self.version, case.head, case.id),
            procedure_hash=case.procedure_hash,
            step=case.state.step,
            visit=case.state.visit,
            traceparent=case.traceparent,
        )
        built = build_entry(draft, place, self.now)
        parameters = {**built.parameters, "version": case.version, "changed_at": self.now}
        if stands == was and self._closed_at == case.closed_at:
            _WRITE_ENTRY.owed(self.conn, parameters, otherwise=_changed)
        else:
            _WRITE.owed(self.conn, {**parameters, **self._columns(stands["state"])}, otherwise=_changed)

    def _columns(self, state: Mapping[str, Any]) -> dict[str, object]:
        return {
            "status": self.status.value,
            "state": orjson.dumps(state).decode(),
            "inbox_last": self._inbox_last,
            "inbox_cursor": self.cursor,
            "kind": self._kind.value,
            "wake_at": self._wake_at,
            "blocked": self.blocked,
            "closed_at": self._closed_at,
        }

    def _standing(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return _standing(state, self.status, self._kind, self._wake_at, self._inbox_last, self.cursor, self.blocked)


def _turned(case: CaseRow, status: CaseStatus, state: CaseState) -> dict[str, str]:
    """What an entry says by itself: the case's status where it is another, and the periods that stood still, went on or
    got a later last day."""
    said = {} if status is case.status else {"case_status": status.value}
    before, after = case.state.periods, state.periods
    if after != before:
        stood, stands = ({name for name, each in of.items() if each.suspended_on} for of in (before, after))
        later = {name for name in before.keys() & after.keys() if after[name].due_on > before[name].due_on}
        turned = {"suspended": stands - stood, "resumed": stood - stands, "extended": later}
        said |= {what: " ".join(sorted(names))[:400] for what, names in turned.items() if names}
    return said


def _changed() -> Conflict:
    return Conflict("case.changed", "The case has changed meanwhile.", "Read it again and retry.")


def _after(last: datetime | None, now: datetime) -> datetime:
    """`now`, or the instant of the change before where the two waited for the lock in another order than they came.

    So within a case the order of instants is that of the commits: what a date decided stays before what came after it.
    """
    return last if last is not None and now < last <= now + SKEW else now


def _entry_and(setting: str) -> Statement:
    """Entry and version in one statement: neither without the other, and no row of an entry without its case's."""
    return Statement(
        f"WITH recorded AS ({INSERT_ENTRY}), "  # noqa: S608 - constants of ours
        f"changed AS (UPDATE case_file SET version = :version + 1, head = :e_hash, changed_at = :changed_at{setting} "
        f"WHERE tenant = :e_tenant AND id = :e_chain AND version = :version RETURNING 1) {ONE_ROW} FROM changed"
    )


_WRITE_ENTRY = _entry_and("")
_WRITE = _entry_and(
    ", status = :status, state = cast(:state AS jsonb), inbox_last = :inbox_last, inbox_cursor = :inbox_cursor, "
    "kind = :kind, wake_at = :wake_at, blocked = :blocked, closed_at = :closed_at, "
    # A new event is rung for at once, whatever the relay's back-off had come to (doorbell.py).
    "rings = CASE WHEN inbox_last < :inbox_last THEN 0 ELSE rings END"
)
_LOCK = Statement(f"{SELECT_CASE} WHERE tenant = :tenant AND id = :id FOR NO KEY UPDATE")


def standing(case: CaseRow) -> dict[str, Any]:
    """What an entry's `state_before` and `state_after` commit to, as JSON."""
    state = case.state.model_dump(mode="json")
    return _standing(state, case.status, case.kind, case.wake_at, case.inbox_last, case.inbox_cursor, case.blocked)


def _standing(
    state: Mapping[str, Any],
    status: CaseStatus,
    kind: StepKind,
    wake_at: datetime | None,
    inbox_last: int,
    cursor: int,
    blocked: str,
) -> dict[str, Any]:
    return {
        "state": state,
        "status": status.value,
        "kind": kind.value,
        "wake_at": wake_at.isoformat() if wake_at else None,
        "inbox_last": inbox_last,
        "cursor": cursor,
        "blocked": blocked,
    }


@asynccontextmanager
async def change_case(conn: Connection, tenant: str, case_id: str, *, now: datetime) -> AsyncGenerator[Change]:
    """Locks the case, gives it to be changed, writes entry and row at the end; on an error nothing is written.

    Must be the first thing in its transaction that locks anything, and the only case in it. Raises `NotFound` for no
    such case (of this tenant), `Final` where the block forgot its entry. `now` is when this came to us: the change is
    stamped with it unless another was committed with a later one while it waited. Use `change.now`.
    """
    one_case_only(conn, tenant, case_id)
    row = await _LOCK.row(conn, {"tenant": tenant, "id": case_id})
    if row is None:
        raise NotFound("case.unknown", "There is no such case.", "Check its number.")
    # Read twice: the library's deep copy takes several times as long.
    change = Change(conn, _case_of(row), CaseState.model_validate(row.state), now)
    spans.concerns(tenant, case_id, change.case.traceparent)
    yield change
    change._write()  # pyright: ignore[reportPrivateUsage]


def lock_ahead(conn: Connection, tenant: str, case_id: str) -> None:
    """Has the next message lock the case that `change_case` is to change in this transaction."""
    one_case_only(conn, tenant, case_id)
    conn.ask_ahead(_LOCK.command({"tenant": tenant, "id": case_id}))


def one_case_only(conn: Connection, tenant: str, case_id: str) -> None:
    """Two cases in one transaction could be locked in either order, and then deadlock with another transaction."""
    if conn.case not in (None, (tenant, case_id)):
        raise Final("change.second_case", "A transaction changes one case.", "Use a transaction for each.")
    conn.case = (tenant, case_id)
