"""From a read event to an accepted one: what it names is there, its answers fit the form, its documents are read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from diwan import metrics
from diwan.domain.actor import Actor
from diwan.domain.errors import InvalidInput, NotFound
from diwan.domain.event import NOTIFICATION_RECEIVED, Application, DocumentRef
from diwan.domain.party import PartyRole
from diwan.domain.text import Language
from diwan.procedures.form import IDENTITY_NUMBER, answered_number, check_answers
from diwan.procedures.schema import Procedure
from diwan.store.documents import NewDocument
from diwan.store.inbox import event_of
from diwan.store.intake import accept_event
from diwan.store.parties import applicant_of, folded_number
from diwan.store.procedures import published
from diwan.store.sources import sources_of
from diwan.tracing import spans
from diwan.web.api.case_views import case_address, remedy_of
from diwan.web.api.cloudevent import Incoming
from diwan.web.api.fields import FieldError, InvalidFields
from diwan.web.api.multipart import Part
from diwan.web.api.views import AcceptedEvent, ReceivedDocument
from diwan.web.dependencies import Dependencies

_SHOWN = 50
_CORRECT = "Correct the fields listed under `errors`."


async def take(
    deps: Dependencies, actor: Actor, event: Incoming, parts: Mapping[str, Part], language: Language
) -> AcceptedEvent:
    """Takes the event in. `parts` came in the same request; `language` is that of the remedies.

    Raises `InvalidFields` and `InvalidInput` for what the sender can correct, `Refused` and `Conflict`, both on
    record, and `Unavailable`.
    """
    spans.current().sent_by(event.traceparent)
    _check_plausible(event)
    named = _named_parts(event.data.documents, parts)
    if await _is_new(deps, actor, event):
        received = await asyncio.gather(*(_inspected(deps, each, parts[each.part].content) for each in named))
    else:  # it is refused, or answered as before: what it brings is not opened again
        received = [NewDocument(name=each.name, data=parts[each.part].content, media_type="") for each in named]
    try:
        accepted = await accept_event(
            *(deps.db, deps.keyring, event.envelope(actor.tenant), event.data, received),
            client=actor,
            now=await deps.stamp(actor.tenant),
        )
    except NotFound as error:
        # What an event names and is not there is the event's fault, not that of the address it was sent to.
        raise InvalidInput(error.code, error.message, error.remedy) from None
    if not accepted.duplicate:
        metrics.EVENTS_ACCEPTED.add(1, actor.tenant, event.type)
    return AcceptedEvent(
        case=accepted.case_id,
        number=accepted.number,
        inbox_seq=accepted.inbox_seq,
        address=case_address(accepted.case_id) if accepted.case_id else None,
        receipt=f"{case_address(accepted.case_id)}/receipt" if accepted.case_id else None,
        documents=[
            ReceivedDocument(
                index=index,
                document=document.id,
                status=document.status,
                reason=document.reason,
                remedy=remedy_of(document.reason, language),
            )
            for index, document in enumerate(accepted.documents)
        ],
    )


async def _is_new(deps: Dependencies, actor: Actor, event: Incoming) -> bool:
    """Whether the event will be taken: its source is the caller's and it was not taken before.

    If so, the answers of an application are checked: an event that was taken gets its answer, whatever form has been
    published since. Raises `InvalidFields`, `InvalidInput`.
    """
    async with deps.db.transaction(actor.tenant) as conn:
        if event.source not in await sources_of(conn, actor.tenant, actor.subject):
            return False
        if await event_of(conn, actor.tenant, event.source, event.id) is not None:
            return False
        if not isinstance(event.data, Application):
            return True
        try:
            version = await published(conn, actor.tenant, event.data.procedure)
        except NotFound:
            raise InvalidInput(
                "event.procedure_unknown",
                "No procedure of this name is published here.",
                "GET /v1/procedures lists those that are.",
            ) from None
    wrong = check_answers(version.procedure, event.data.answers)
    if wrong:
        raise InvalidFields(
            "event.answers_invalid",
            "The answers are not as the procedure's form asks.",
            f"Correct the answers listed under `errors`; /v1/procedures/{version.name}/schema describes them.",
            (
                FieldError(f"/data/answers{each.pointer}", f"{each.message} {each.remedy}".strip())
                for each in wrong[:_SHOWN]
            ),
        )
    _check_applicant(version.procedure, event.data)
    return True


def _check_applicant(procedure: Procedure, application: Application) -> None:
    """Who is found in the registers by the answer has to be who is found by the party. Raises `InvalidFields`."""
    number, position = answered_number(procedure, application.answers), applicant_of(application.parties)
    if not number or position is None:
        return
    given = folded_number(application.parties[position].identity_number)
    if given and given != folded_number(number):
        raise InvalidFields(
            "event.data_invalid",
            "The applicant's identity number is not the one that the answers give.",
            "Give the applicant's own number in both places, or in the answers alone.",
            [FieldError(f"/data/parties/{position}/{IDENTITY_NUMBER}", "It differs from the answer of this name.")],
        )


async def _inspected(deps: Dependencies, reference: DocumentRef, content: bytes) -> NewDocument:
    found = await deps.readers.inspect_document(reference.name, content)
    return NewDocument(
        name=reference.name,
        data=content,
        media_type=found.media_type,
        piece=reference.piece,
        status=found.status.value,
        reason=found.reason,
        pages=found.pages,
        flags=found.flags,
    )


def _check_plausible(event: Incoming) -> None:
    """What the models of the domain leave open."""
    errors: list[FieldError] = []
    if isinstance(event.data, Application):
        parties = event.data.parties
        if not any(party.role is PartyRole.APPLICANT for party in parties):
            errors.append(FieldError("/data/parties", "One party has to have the role `applicant`."))
        for index, party in enumerate(parties):
            for name in ("name", "identity_number", "contact"):
                text: str = getattr(party, name)
                if text.splitlines() not in ([], [text]) or (name == "name" and not text.strip()):
                    errors.append(FieldError(f"/data/parties/{index}/{name}", "One line of text is expected."))
    elif event.type == NOTIFICATION_RECEIVED and not event.data.letter:
        errors.append(FieldError("/data/letter", "The letter that was received is named here."))
    if errors:
        raise InvalidFields("event.data_invalid", "The event's data is not complete.", _CORRECT, errors)


def _named_parts(references: Sequence[DocumentRef], parts: Mapping[str, Part]) -> list[DocumentRef]:
    """The references that name a part, each part exactly once. Raises `InvalidFields` for any other relation."""
    errors: list[FieldError] = []
    used: set[str] = set()
    for index, each in enumerate(references):
        at = f"/data/documents/{index}"
        if bool(each.part) == bool(each.ref):
            errors.append(FieldError(at, "A document is named either by `part` or by `ref`."))
        elif each.part and each.part not in parts:
            errors.append(FieldError(f"{at}/part", "No part of this name came with the event."))
        elif (each.part or f"ref {each.ref}") in used:
            errors.append(FieldError(at, "This document is named twice."))
        used.add(each.part or f"ref {each.ref}")
    if len(parts.keys() - used) > 0:
        errors.append(FieldError("/data/documents", "A part came with the event that no document names."))
    if errors:
        raise InvalidFields(
            "event.documents_differ",
            "The documents named in the event and those sent with it differ.",
            "Send a multipart/form-data request with the part `event` and one part for each `part` named, "
            "or upload documents ahead through /v1/documents and name their `ref`.",
            errors[:_SHOWN],
        )
    return [each for each in references if each.part]
