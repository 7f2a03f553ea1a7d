"""A case is opened: its row at version 1 with its entry, and then its number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import orjson
from sqlalchemy import text

from diwan.domain.case import CaseState, CaseStatus, StepKind
from diwan.ledger.entry import canonical
from diwan.store.change import COLUMNS, CaseRow, one_case_only, standing
from diwan.store.connection import Connection
from diwan.store.entries import INSERT_ENTRY, EntryDraft, Place, build_entry
from diwan.tracing import spans


@dataclass(frozen=True, slots=True)
class NewCase:
    """What a case is opened with. `id` has no slash; `number` is given later in the same transaction."""

    id: str
    source: str
    reference: str
    procedure: str
    procedure_version: str
    procedure_hash: str
    language: str
    state: CaseState
    kind: StepKind
    wake_at: datetime | None = None
    status: CaseStatus = CaseStatus.OPEN
    inbox_last: int = 1
    traceparent: str = ""


async def create_case(
    conn: Connection, tenant: str, new: NewCase, draft: EntryDraft, *, now: datetime
) -> CaseRow | None:
    """Version 1 with its entry, locked for this transaction; None where (source, reference) has its case already.

    Waits for another transaction that is opening the same case. Until `number_case` the number is the id.
    """
    one_case_only(conn, tenant, new.id)
    case = CaseRow(
        *(tenant, new.id, new.id, new.source, new.reference, new.procedure, new.procedure_version, new.procedure_hash),
        *(new.status, new.language, 1, b"", new.state, new.inbox_last, 0, new.kind, new.wake_at, "", now, None, now),
        new.traceparent,
    )
    if draft.cipher is not None:
        draft = replace(draft, commitments={"state_after": canonical(standing(case)), **draft.commitments})
    place = Place(
        *(tenant, new.id, 1, None, new.id, new.procedure_hash, new.state.step, new.state.visit, new.traceparent)
    )
    built = build_entry(draft, place, now)
    case = replace(case, head=built.hash)
    values = {name: getattr(case, name) for name in COLUMNS}
    values["state"] = orjson.dumps(new.state.model_dump(mode="json")).decode()
    values["status"], values["kind"] = new.status.value, new.kind.value
    inserted = await conn.execute(_INSERT_CASE, values)
    if inserted.rowcount == 0:
        return None
    await conn.execute(_INSERT_ENTRY, built.parameters)
    spans.concerns(tenant, new.id, new.traceparent)
    return case


_INSERT_CASE = text(
    f"INSERT INTO case_file ({', '.join(COLUMNS)}) VALUES "  # noqa: S608 - names of our own columns
    f"({', '.join('cast(:state AS jsonb)' if name == 'state' else f':{name}' for name in COLUMNS)}) "
    "ON CONFLICT DO NOTHING"
)
_INSERT_ENTRY = text(INSERT_ENTRY)


async def number_case(conn: Connection, tenant: str, case_id: str, series: str) -> str:
    """Gives a case that this transaction opened the next number of a series (`DW-2026` gives DW-2026-000142).

    The series stays locked until the commit, so this comes last: openings take turns only from here on.
    """
    row = (await conn.execute(_NUMBER, {"tenant": tenant, "id": case_id, "series": series})).one()
    return str(row.number)


_NUMBER = text(
    "WITH taken AS (INSERT INTO numbering (tenant, series, last) VALUES (:tenant, :series, 1) "
    "ON CONFLICT (tenant, series) DO UPDATE SET last = numbering.last + 1 RETURNING last) "
    "UPDATE case_file SET number = :series || '-' || lpad(taken.last::text, 6, '0') FROM taken "
    "WHERE tenant = :tenant AND id = :id RETURNING number"
)
