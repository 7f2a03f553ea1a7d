"""/v1/cases/{case}/past: a case as the service knew it at an instant, for staff."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from diwan.domain.errors import InvalidInput
from diwan.domain.ports import RetentionClass
from diwan.domain.text import Language
from diwan.store.past import CaseThen, case_then
from diwan.web.api import reads
from diwan.web.api.callers import Staff, Wanted, visible_case
from diwan.web.api.case_views import decision_view, document_view, fields_of, letter_views, task_summary
from diwan.web.api.reads import Reading
from diwan.web.api.views import CaseView
from diwan.web.dependencies import Deps

router = APIRouter(prefix="/v1/cases", tags=["cases"])


class RecordedView(BaseModel):
    """Since which entry the service has known of something. When it was true is another thing: a fact's `as_of`."""

    what: str = Field(description="party, document, fact, proposal, task, decision, letter or notification")
    id: str = Field(description="its id; of a fact name/provenance/revision")
    entry: int
    at: datetime


class CaseThenView(CaseView):
    """A case as it was known: `version` is the number of the last entry then, written at `known_at`. What is `erased`
    since is not shown of then either."""

    known_at: datetime
    recorded: list[RecordedView]


@router.get(
    "/{case}/past",
    summary="The case as it was known at an instant, and nothing of what came later",
    description="Either `as_of`, an instant, or `entry`, the number of an entry of the case.",
)
async def show(
    deps: Deps,
    actor: Staff,
    reading: Reading,
    language: Wanted,
    case: str,
    as_of: Annotated[AwareDatetime | None, Query(description="what was known then")] = None,
    entry: Annotated[int | None, Query(ge=1, le=2**53, description="what was known when this was written")] = None,
) -> CaseThenView:
    if (as_of is None) == (entry is None):
        raise InvalidInput("case.no_instant", "Which past is wanted is not said.", "Give `as_of`, or `entry`.")
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
    cipher = await deps.cipher(actor.tenant, found.id)
    async with deps.db.transaction(actor.tenant) as conn:
        then = await case_then(conn, found, cipher, at=as_of, entry=entry)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="past", version=then.version)
    return _view(then, language, [each for each in RetentionClass if each in cipher.erased])


def _view(then: CaseThen, language: Language, erased: list[RetentionClass]) -> CaseThenView:
    return CaseThenView(
        **fields_of(then.case, staff=True),
        periods=then.case.state.periods,
        parties=[row.party for row in then.parties],
        documents=[document_view(row, language) for row in then.documents],
        facts=list(then.facts),
        proposal=then.proposal.proposal if then.proposal else None,
        decision=decision_view(then.decision),
        letters=letter_views(list(then.letters), list(then.notifications)),
        tasks=[task_summary(row, then.case.number) for row in then.tasks],
        erased=erased,
        known_at=then.at,
        recorded=[
            RecordedView(what=relation, id=key, entry=known.since, at=known.at)
            for (relation, key), known in sorted(then.known.items(), key=lambda item: (item[1].since, item[0]))
            if relation != "case_file"
        ],
    )
