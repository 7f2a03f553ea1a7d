"""/v1/entries: auditors search the ledger. Each search is on the ledger itself.

A person is searched by name or identity number in a body, never in an address: addresses end up in logs. The vault
turns both into keyed pseudonyms, which is all that the database is asked for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, JsonValue

from diwan.domain.actor import Actor
from diwan.domain.errors import InvalidInput
from diwan.domain.fold import fold
from diwan.ledger.entry import Scalar
from diwan.store.cases import get_case
from diwan.store.connection import Connection
from diwan.store.entry_index import catch_up
from diwan.store.entry_search import EntryPage, FoundEntry, Wanted, cases_of_person, procedure_hashes, search
from diwan.store.parties import folded_number, identity_token, name_token
from diwan.web.api import reads
from diwan.web.api.bodies import read_model
from diwan.web.api.callers import Auditor
from diwan.web.api.entry_views import EntriesView, EntryQuery, EntryView, PersonQuery
from diwan.web.api.fields import check_model
from diwan.web.api.pages import Cursor
from diwan.web.api.reads import Reading, Reads, SealedSaying
from diwan.web.dependencies import Deps
from diwan.web.limits import Limits
from diwan.web.openapi import json_body, reference

router = APIRouter(prefix="/v1/entries", tags=["ledger"])


@router.get("", summary="Search the ledger; the newest entries first")
async def find(
    deps: Deps,
    actor: Auditor,
    reading: Reading,
    case: Annotated[str, Query(max_length=200, description="about this case, by id or number")] = "",
    by: Annotated[str, Query(alias="actor", max_length=200, description="who acted: a subject")] = "",
    kind: Annotated[str, Query(max_length=200, description="e.g. task:act:recorded")] = "",
    tool: Annotated[str, Query(max_length=200)] = "",
    model: Annotated[str, Query(max_length=200)] = "",
    procedure: Annotated[str, Query(max_length=200)] = "",
    version: Annotated[str, Query(max_length=200)] = "",
    overridden: Annotated[bool | None, Query(description="a person decided otherwise than was proposed")] = None,
    since: Annotated[AwareDatetime | None, Query(description="this instant or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="before this instant")] = None,
    cursor: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=Limits.page_size_max)] = Limits.page_size,
) -> EntriesView:
    given: dict[str, Any] = {
        **{"case": case, "actor": by, "kind": kind, "tool": tool, "model": model, "procedure": procedure},
        **{"version": version, "overridden": overridden, "since": since, "until": until},
        **{"cursor": cursor, "limit": limit},
    }
    return await _found(reading, actor, check_model(EntryQuery, given, code="http.parameter_invalid"))


@router.post(
    "/search",
    summary="Search the ledger, by a person of a case as well",
    description="As `GET /v1/entries`, with the query as a body, where a name or an identity number may stand.",
    openapi_extra=json_body(reference(PersonQuery), {"name": "Zineb Exemplaire", "kind": "case:decision:issued"}),
)
async def find_person(request: Request, deps: Deps, actor: Auditor, reading: Reading) -> EntriesView:
    return await _found(reading, actor, await read_model(request, PersonQuery, deps.limits))


async def _found(reading: Reads, actor: Actor, given: EntryQuery) -> EntriesView:
    deps = reading.deps
    if given.version and not given.procedure:
        raise InvalidInput("ledger.version_alone", "A version is one of a procedure.", "Say the procedure, too.")
    person = await _Person.of(reading, actor.tenant, given)
    keys = await reading.keys(actor.tenant) if person or any(getattr(given, name) for name in _TEXTS) else None
    await catch_up(deps.db, actor.tenant)
    async with deps.db.transaction(actor.tenant) as conn:
        if given.case:
            given = given.model_copy(update={"case": (await get_case(conn, actor.tenant, given.case)).id})
        wanted = await _wanted(conn, actor.tenant, given, person)
        page = await search(conn, actor.tenant, wanted, after=given.cursor, limit=given.limit)
        told, hidden = _said(given, person, page)
        sealed = SealedSaying(hidden, keys) if hidden and keys is not None else None
        await reading.record_sealed(conn, actor, reads.SEARCH, told, sealed)
    return EntriesView(items=[_view(each) for each in page.entries], next=page.next or None, waiting=page.reach.waiting)


class _Person:
    """The keyed pseudonyms of who is searched; `told` is what the search's entry commits to: under a key purpose of its
    own, so that no row of a case is found by it."""

    def __init__(self, name: str, identity: str, told: str) -> None:
        self.name, self.identity, self.told = name, identity, told

    @classmethod
    async def of(cls, reading: Reads, tenant: str, given: EntryQuery) -> _Person | None:
        if not isinstance(given, PersonQuery) or not (given.name or given.identity_number):
            return None
        name, number = " ".join(fold(given.name).split()), folded_number(given.identity_number)
        if (given.name and not name) or (given.identity_number and not number):
            raise InvalidInput("ledger.nobody_named", "Nothing is left of the name or number to search by.", "")
        keyring = reading.deps.keyring
        return cls(
            await name_token(keyring, tenant, given.name) if name else "",
            await identity_token(keyring, tenant, given.identity_number),
            await keyring.token(tenant, "audit.person", f"{name}\x1f{number}"),
        )


async def _wanted(conn: Connection, tenant: str, given: EntryQuery, person: _Person | None) -> Wanted:
    cases: set[str] | None = {given.case} if given.case else None
    if person is not None:
        found = await cases_of_person(conn, tenant, name_token=person.name, identity_token=person.identity)
        cases = set(found) if cases is None else cases & set(found)
    procedures = await procedure_hashes(conn, tenant, given.procedure, given.version) if given.procedure else None
    same = ("actor", "kind", "tool", "model", "overridden", "since", "until")
    return Wanted(cases=cases, procedures=procedures, **{name: getattr(given, name) for name in same})


_TEXTS = ("actor", "kind", "tool", "model", "procedure", "version")


def _said(given: EntryQuery, person: _Person | None, page: EntryPage) -> tuple[dict[str, Scalar], dict[str, JsonValue]]:
    """What was asked, and how much came of it: for the header, and to be sealed.

    A header is for ever, so a text is told there only where entries were found by it, which say it themselves. By what
    nothing is found may be anything, a citizen's name in the wrong field too. Names are of the search's own: a search
    for a tool is no entry of that tool.
    """
    asked = given.model_dump(exclude={"cursor", "limit", "name", "identity_number"}, exclude_defaults=True)
    hidden: dict[str, JsonValue] = {} if page.entries else {name: asked.pop(name) for name in _TEXTS if name in asked}
    told: dict[str, Scalar] = {
        name if name == "case" else f"by_{name}": value.isoformat() if isinstance(value, datetime) else value
        for name, value in asked.items()
    }
    if person is not None:
        told["by_person"], hidden["person"] = True, person.told
    return {**told, "found": len(page.entries), "later_page": bool(given.cursor)}, hidden


def _view(found: FoundEntry) -> EntryView:
    return EntryView(
        log=found.shard,
        index=found.index,
        chain=found.chain,
        seq=found.seq,
        hash=found.hash.hex(),
        header=orjson.loads(found.header),
    )
