"""A case as the service knew it at an instant: what had come by then, as it stood then, nothing of what came later.

Known and true are two things: a fact says as of when it holds, this says from which entry on it was known. What is
shown of where the case stood is compared with what the ledger committed to (docs/adr/0029-as-it-was-known.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

import orjson
from sqlalchemy import Row, select, text

from diwan.domain.case import CaseState, CaseStatus, StepKind
from diwan.domain.errors import NotFound, Tampered
from diwan.domain.facts import Fact
from diwan.domain.ports import Cipher
from diwan.domain.task import TaskStatus
from diwan.ledger.entry import canonical, digest_of
from diwan.store.change import CaseRow, standing
from diwan.store.connection import Connection
from diwan.store.decisions import DecisionRow, decision_of
from diwan.store.documents import DocumentRow, documents_of
from diwan.store.facts import open_fact
from diwan.store.kept import unless_erased
from diwan.store.letters import LetterRow, letters_of
from diwan.store.notifications import NotificationRow, notifications_of
from diwan.store.opened_entry import open_entry
from diwan.store.parties import PartyRow, parties_of
from diwan.store.proposals import ProposalRow, get_proposal
from diwan.store.tables import fact
from diwan.store.tasks import TaskRow, tasks_of

STATE_AFTER = "state_after"


@dataclass(frozen=True, slots=True)
class Known:
    """A row as it stood: since entry `since` (at `at`) the service has known of it. `was` holds what may change."""

    since: int
    at: datetime
    was: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CaseThen:
    """`version` is the last entry that was written then, at `at`. `known` is by table and key."""

    case: CaseRow
    version: int
    at: datetime
    known: Mapping[tuple[str, str], Known]
    parties: Sequence[PartyRow]
    documents: Sequence[DocumentRow]
    facts: Sequence[Fact]
    proposal: ProposalRow | None
    tasks: Sequence[TaskRow]
    decision: DecisionRow | None
    letters: Sequence[LetterRow]
    notifications: Sequence[NotificationRow]

    def keys(self, relation: str) -> list[str]:
        return [key for of, key in self.known if of == relation]


async def case_then(
    conn: Connection, case: CaseRow, cipher: Cipher, *, at: datetime | None = None, entry: int | None = None
) -> CaseThen:
    """The case as known at the instant `at`, or when its entry `entry` was written.

    What is erased since is left out. Raises `NotFound` where nothing was known of it then or what was known was not
    kept yet, `Tampered` where it is not what the ledger committed to.
    """
    version, then = await _version(conn, case, at, entry)
    known = await _known(conn, case, version)
    stood = known.get(("case_file", ""))
    if stood is None:
        raise NotFound(
            "case.past_not_kept",
            "What was known of this case then was not kept yet.",
            "It is kept since the release that can show it: ask for a later instant, or see the case's story.",
        )
    past = _stood(case, stood.was, version)
    await _check(conn, past, cipher)
    of_case = (case.tenant, case.id)

    def keys(relation: str) -> dict[str, Known]:
        return {key: each for (of, key), each in known.items() if of == relation}

    documents, tasks, notified, letters = keys("document"), keys("task"), keys("notification"), keys("letter")
    last = max(keys("proposal"), key=lambda key: known["proposal", key].since, default=None)
    return CaseThen(
        case=past,
        version=version,
        at=then,
        known=known,
        parties=[
            row
            for row in await unless_erased(parties_of(conn, *of_case, cipher), list[PartyRow]())
            if ("party", row.id) in known
        ],
        documents=[
            _as_it_was(row, documents[row.id].was)
            for row in await documents_of(conn, *of_case, cipher)
            if row.id in documents
        ],
        facts=await unless_erased(_facts(conn, case, list(keys("fact")), cipher), list[Fact]()),
        proposal=await unless_erased(get_proposal(conn, case.tenant, last, cipher), None) if last else None,
        tasks=[_task(row, tasks[row.id].was) for row in await tasks_of(conn, *of_case) if row.id in tasks],
        decision=await unless_erased(decision_of(conn, *of_case, cipher), None) if keys("decision") else None,
        letters=[row for row in await letters_of(conn, *of_case, cipher) if row.id in letters],
        notifications=[
            _as_it_was(row, notified[row.id].was)
            for row in await notifications_of(conn, *of_case)
            if row.id in notified
        ],
    )


async def _version(conn: Connection, case: CaseRow, at: datetime | None, entry: int | None) -> tuple[int, datetime]:
    row = (await conn.execute(_LAST, {"tenant": case.tenant, "chain": case.id, "at": at, "seq": entry})).one_or_none()
    if row is None or (entry is not None and row.seq != entry):
        raise NotFound("case.unknown_then", "The service did not know this case then.", "It was opened later.")
    return row.seq, row.at


_LAST = text(
    "SELECT seq, at FROM entry WHERE tenant = :tenant AND chain = :chain "
    "AND (cast(:at AS timestamptz) IS NULL OR at <= :at) AND (cast(:seq AS bigint) IS NULL OR seq <= :seq) "
    "ORDER BY seq DESC LIMIT 1"
)


async def _known(conn: Connection, case: CaseRow, version: int) -> dict[tuple[str, str], Known]:
    rows = await conn.execute(_KNOWN, {"tenant": case.tenant, "case": case.id, "version": version})
    return {(row.relation, row.key): Known(row.since, row.at, row.was) for row in rows}


# A fact never changes, and says itself with which version it came.
_KNOWN = text(
    "WITH known AS ((SELECT DISTINCT ON (relation, key) relation, key, was, "
    "min(version) OVER (PARTITION BY relation, key) AS since FROM case_past WHERE tenant = :tenant AND case_id = :case "
    "AND version <= :version ORDER BY relation, key, version DESC) UNION ALL "
    "SELECT 'fact', concat_ws('/', name, provenance, revision), '{}', version FROM fact "
    "WHERE tenant = :tenant AND case_id = :case AND version <= :version) "
    "SELECT k.relation, k.key, k.since, e.at, k.was FROM known k "
    "JOIN entry e ON e.tenant = :tenant AND e.chain = :case AND e.seq = k.since"
)
_INSTANTS = ("wake_at", "closed_at", "changed_at", "due_at", "completed_at", "reminded_at", "sent_at", "received_at")


def _values(was: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Columns as the rows have them: JSON has no instants."""
    read = {name: was[name] for name in names if name in was}
    return read | {name: datetime.fromisoformat(read[name]) for name in _INSTANTS if read.get(name) is not None}


def _stood(case: CaseRow, was: Mapping[str, Any], version: int) -> CaseRow:
    read = _values(was, ("number", "inbox_last", "inbox_cursor", "wake_at", "blocked", "closed_at"))
    return replace(
        case,
        version=version,
        status=CaseStatus(was["status"]),
        state=CaseState.model_validate(was["state"]),
        kind=StepKind(was["kind"]),
        **read,
    )


async def _check(conn: Connection, past: CaseRow, cipher: Cipher) -> None:
    """That the case stood so is what its last entry then committed to, unless the key for that is destroyed."""
    row = (await conn.execute(_COMMITTED, {"tenant": past.tenant, "chain": past.id, "seq": past.version})).one()
    commitments = orjson.loads(row.header).get("commitments", {})
    if row.body_sealed is None or STATE_AFTER not in commitments:
        return
    try:
        opened = open_entry(cipher, past.id, past.version, row.body_sealed)
    except NotFound:
        return
    opened.check(commitments)
    _, digest = opened.committed[STATE_AFTER]
    if digest != digest_of(canonical(standing(past))):
        raise Tampered("case.past_differs", "What is kept of this case's past is not what the ledger committed to.")


_COMMITTED = text("SELECT header, body_sealed FROM entry WHERE tenant = :tenant AND chain = :chain AND seq = :seq")


def _as_it_was(row: Any, was: Mapping[str, Any]) -> Any:
    return replace(row, **_values(was, [name for name in row.__dataclass_fields__ if name != "name"]))


def _task(row: TaskRow, was: Mapping[str, Any]) -> TaskRow:
    names = ("assignee", "proposer", "proposal_id", "digest", "outcome", "completed_by", "due_at", "completed_at")
    return replace(row, status=TaskStatus(was["status"]), **_values(was, (*names, "reminded_at")))


async def _facts(conn: Connection, case: CaseRow, keys: Sequence[str], cipher: Cipher) -> list[Fact]:
    """Of each name and provenance the last revision that was known."""
    last: dict[tuple[str, str], int] = {}
    for key in keys:
        name, provenance, revision = key.rsplit("/", 2)
        last[name, provenance] = max(int(revision), last.get((name, provenance), 0))
    found = await conn.execute(
        select(fact.c.name, fact.c.provenance, fact.c.revision, fact.c.fact_sealed)
        .where(fact.c.tenant == case.tenant, fact.c.case_id == case.id)
        .order_by(fact.c.name, fact.c.provenance)
    )
    return [
        open_fact(cipher, case.id, row.name, row.provenance, row.revision, row.fact_sealed)
        for row in cast("Sequence[Row[Any]]", found.all())
        if last.get((row.name, row.provenance)) == row.revision
    ]
