"""Reads a case and opens what is sealed, as far as the caller may see it. No row is locked, no key asked for twice."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from diwan.documents.reasons import MESSAGES, Reason
from diwan.domain.actor import Actor
from diwan.domain.decision import Proposal
from diwan.domain.facts import Fact
from diwan.domain.ports import RetentionClass
from diwan.domain.text import Language
from diwan.store.change import CaseRow
from diwan.store.decisions import DecisionRow, decision_of
from diwan.store.documents import DocumentRow, documents_of
from diwan.store.erasures import ErasureRow, erasures_of
from diwan.store.facts import current_facts
from diwan.store.holds import HoldRow, holds_of
from diwan.store.kept import unless_erased
from diwan.store.letters import LetterRow, letters_of
from diwan.store.notifications import NotificationRow, notifications_of
from diwan.store.parties import PartyRow, parties_of
from diwan.store.proposals import latest_proposal
from diwan.store.tasks import TaskRow, tasks_of
from diwan.web.api import reads
from diwan.web.api.callers import is_staff
from diwan.web.api.reads import Reads
from diwan.web.api.views import (
    CaseSummary,
    CaseView,
    DecisionView,
    DocumentView,
    ErasureView,
    HoldView,
    LetterView,
    TaskSummary,
)


def case_address(case_id: str) -> str:
    return f"/v1/cases/{quote(case_id, safe='')}"


def remedy_of(reason: str, language: Language) -> str:
    """What the sender can do about a document that is in quarantine; empty where there is nothing to do."""
    try:
        return MESSAGES[Reason(reason)].in_(language)
    except ValueError:
        return ""


def summary(case: CaseRow, *, staff: bool) -> CaseSummary:
    return CaseSummary(**fields_of(case, staff=staff))


def fields_of(case: CaseRow, *, staff: bool) -> dict[str, Any]:
    """A sender does not learn what the agent or the service noticed."""
    same = ("id", "number", "source", "reference", "procedure", "procedure_version", "status", "kind", "language")
    return {
        **{name: getattr(case, name) for name in (*same, "wake_at", "version", "opened_at", "closed_at")},
        "address": case_address(case.id),
        "step": case.state.step,
        "visit": case.state.visit,
        "result": case.state.result,
        "flags": case.state.flags if staff else [],
        "blocked": case.blocked if staff else "",
    }


async def read_case(reading: Reads, actor: Actor, case: CaseRow, language: Language) -> CaseView:
    deps = reading.deps
    cipher = await deps.cipher(actor.tenant, case.id)
    of_case = (actor.tenant, case.id)
    staff = is_staff(actor)
    async with deps.db.transaction(actor.tenant) as conn:
        await reading.record(conn, actor, reads.CASE, case=case.id, part="file")
        erasures = await erasures_of(conn, *of_case)
        view = CaseView(
            **fields_of(case, staff=staff),
            periods=case.state.periods,
            parties=[row.party for row in await unless_erased(parties_of(conn, *of_case, cipher), list[PartyRow]())],
            documents=[document_view(row, language) for row in await documents_of(conn, *of_case, cipher)],
            letters=letter_views(await letters_of(conn, *of_case, cipher), await notifications_of(conn, *of_case)),
            erased=[each for each in RetentionClass if each in cipher.erased],
        )
        if not staff:
            return view
        view.facts = await unless_erased(current_facts(conn, *of_case, cipher), list[Fact]())
        view.tasks = [task_summary(row, case.number) for row in await tasks_of(conn, *of_case)]
        view.decision = decision_view(await unless_erased(decision_of(conn, *of_case, cipher), None))
        latest = await unless_erased(latest_proposal(conn, *of_case, cipher), None)
        view.proposal = latest.proposal if latest else None
        view.erasures = [erasure_view(row, case.number) for row in erasures]
        view.holds = [hold_view(row) for row in await holds_of(conn, *of_case)]
    return view


def erasure_view(row: ErasureRow, number: str) -> ErasureView:
    same = (name for name in ErasureView.model_fields if name not in ("case", "number"))
    return ErasureView(case=row.case_id, number=number, **{name: getattr(row, name) for name in same})


def hold_view(row: HoldRow) -> HoldView:
    return HoldView(**{name: getattr(row, name) for name in HoldView.model_fields})


def document_view(row: DocumentRow, language: Language) -> DocumentView:
    same = ("id", "name", "piece", "media_type", "size", "pages", "status", "reason", "flags", "received_at")
    return DocumentView(
        **{name: getattr(row, name) for name in same},
        address=f"{case_address(row.case_id or '')}/documents/{quote(row.id, safe='')}",
        remedy=remedy_of(row.reason, language),
    )


def letter_views(letters: list[LetterRow], notifications: list[NotificationRow]) -> list[LetterView]:
    notified = {row.letter_id: f"{row.channel}:{row.status}" for row in notifications}
    return [
        LetterView(
            id=row.id,
            address=letter_address(row),
            sheet=f"{letter_address(row)}?format=sheet" if row.receipt_chain else "",
            kind=row.kind,
            number=row.number,
            language=row.language,
            made_at=row.made_at,
            notified=notified.get(row.id, ""),
        )
        for row in letters
    ]


def letter_address(row: LetterRow) -> str:
    return f"{case_address(row.case_id)}/letters/{quote(row.id, safe='')}"


def task_summary(row: TaskRow, number: str | None) -> TaskSummary:
    return TaskSummary(**task_fields(row, number))


def task_fields(row: TaskRow, number: str | None) -> dict[str, Any]:
    same = ("id", "kind", "step", "status", "assignee", "proposer", "outcome")
    times = ("created_at", "due_at", "completed_at", "reminded_at")
    return {
        **{name: getattr(row, name) for name in (*same, *times)},
        "address": f"/v1/tasks/{row.id}",
        "case": row.case_id,
        "number": number,
        "roles": [role.value for role in row.roles],
    }


def decision_view(row: DecisionRow | None) -> DecisionView | None:
    if row is None:
        return None
    proposal: Proposal = row.proposal
    return DecisionView(
        result=row.result.value,
        signed_by=row.signed_by,
        signed_at=row.signed_at,
        delegation=row.delegation_id,
        proposal=proposal,
    )
