"""/v1/cases/{case}/bundles: the file of a case for a court or an ombudsman, which proves itself without us."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import StringConstraints
from starlette.responses import Response

from diwan.documents.story_page import Line, story_page
from diwan.domain.errors import InvalidInput, Refused, Tampered
from diwan.domain.ports import Cipher
from diwan.domain.text import Language
from diwan.ledger.bundle import pack
from diwan.ledger.checkpoint import parse_checkpoint
from diwan.ledger.note import Note, parse_note
from diwan.ledger.policy import Policy, parse_policy
from diwan.store.bundles import CaseFile, Withheld, case_file
from diwan.store.entries import append_entry, subject_chain
from diwan.web.api.bodies import read_model
from diwan.web.api.callers import Auditor, visible_case
from diwan.web.api.reads import Reading
from diwan.web.api.views import BundleBody
from diwan.web.dependencies import Deps
from diwan.web.openapi import json_body, reference

router = APIRouter(prefix="/v1/cases", tags=["cases"])

# Its proofs are made in memory: a case of so many entries is no case.
_MOST_ENTRIES = 20_000
_WITHHELD = r"^[0-9]{1,9}(/[a-z][a-z0-9_]{0,59}){0,2}$"
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post(
    "/{case}/bundles",
    summary="The whole file of a case, which anybody checks offline",
    description="A zip: every entry with its place in the signed log, what the entries commit to, the procedure, and a "
    "readable story. Entries named in `withhold` keep sealed what they commit to, or a field of it (`7/reason`). With "
    "a `policy` it is made against the newest checkpoint that satisfies it, else one that most witnesses signed; "
    "with `since` it proves that the log grew from there. That it was given out, and to whom, is on the ledger.",
    response_class=Response,
    responses=_ZIP,
    openapi_extra=json_body(
        reference(BundleBody), {"policy": "log ledger.example/2026+…\nquorum none\n"}, required=False
    ),
)
async def give(
    request: Request,
    deps: Deps,
    actor: Auditor,
    reading: Reading,
    case: str,
    language: Language = Language.EN,
    withhold: Annotated[
        list[Annotated[str, StringConstraints(pattern=_WITHHELD)]] | None,
        Query(max_length=1000, description="numbers of entries, or fields of one as 7/reason"),
    ] = None,
) -> Response:
    policy, since = _parsed(await read_model(request, BundleBody, deps.limits))
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
    if found.version > _MOST_ENTRIES:
        raise Refused("ledger.case_too_long", f"A bundle holds at most {_MOST_ENTRIES} entries.", "Ask the operator.")
    cipher = await deps.cipher(actor.tenant, found.id)
    async with deps.db.transaction(actor.tenant, snapshot=True) as conn:
        file = await case_file(conn, found, policy=policy, since=since)
    told = {"language": language.value, "made_by": actor.subject, "made_at": deps.clock().isoformat()}
    hidden = _withheld(withhold or ())
    content = await asyncio.to_thread(packed, file, cipher, told, hidden, language)
    now = await deps.stamp(actor.tenant)
    detail = {
        "case": found.id,
        "entries": len(file.rows),
        "withheld": sum(row.seq in hidden for row in file.rows),
        "digest": hashlib.sha256(content).hexdigest(),
    }
    async with deps.db.transaction(actor.tenant) as conn:
        chain = subject_chain("exports", actor.subject)
        await append_entry(
            conn, actor.tenant, chain, "ledger:bundle:exported", actor, now=now, purpose=reading.purpose, detail=detail
        )
    return Response(
        content,
        media_type="application/zip",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.number, safe='')}.zip",
            "Cache-Control": "no-store",
        },
    )


def _parsed(against: BundleBody) -> tuple[Policy | None, list[Note]]:
    """Raises `InvalidInput`: what the auditor sent is nobody's tampering."""
    try:
        since = [parse_note(each.encode()) for each in against.since]
        origins = {parse_checkpoint(note.text).origin for note in since}
    except Tampered as error:
        raise InvalidInput("ledger.kept_malformed", error.message, "Send the checkpoint as it was kept.") from None
    if len(origins) < len(since):
        raise InvalidInput("ledger.kept_twice", "Two checkpoints are of one log.", "Send one of each log.")
    return parse_policy(against.policy.encode()) if against.policy else None, since


def _withheld(said: Iterable[str]) -> Withheld:
    """`7` keeps all of entry 7 sealed, whatever else is said of it."""
    found: dict[int, set[str]] = {}
    whole: set[int] = set()
    for each in said:
        number, slash, pointer = each.partition("/")
        found.setdefault(int(number), set()).add(slash + pointer)
        if not slash:
            whole.add(int(number))
    return {seq: () if seq in whole else pointers for seq, pointers in found.items()}


def packed(file: CaseFile, cipher: Cipher, told: dict[str, str], withheld: Withheld, language: Language) -> bytes:
    """Proofs, what is opened, the zip: seconds for a long case, so not among the requests."""
    bundle = file.bundle(cipher, told, withheld=withheld)
    lines = [
        Line(
            header := json.loads(entry.header),
            entry.opened.shown if entry.opened else None,
            bool(header.get("commitments")) and entry.opened is None,
            tuple(entry.opened.fields.hidden) if entry.opened and entry.opened.fields else (),
        )
        for entry in bundle.entries
    ]
    verifier = resources.files("diwan.standalone").joinpath("verify_bundle.py").read_bytes()
    pages = {"story.html": story_page(language, file.case.number, lines), "verify_bundle.py": verifier}
    return pack(replace(bundle, pages=pages))
