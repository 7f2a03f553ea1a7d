"""Writes ledger entries: builds header and sealed body from a draft, and keeps the chains outside cases.

Entries of a case are written by change.py only, in the transaction of the case's version.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TypedDict, Unpack

import orjson
from pydantic import JsonValue
from sqlalchemy import text

import diwan
from diwan.domain.actor import Actor
from diwan.domain.errors import Final
from diwan.domain.ports import Cipher, RetentionClass
from diwan.ledger.entry import (
    SALT_BYTES,
    EntryActor,
    EntryApproval,
    EntryHeader,
    EntryModel,
    Scalar,
    commit_digest,
    digest_of,
    encode,
    entry_hash,
)
from diwan.ledger.fields import FIELDS, SEED_BYTES, commit_fields
from diwan.store.connection import Connection
from diwan.store.origin import origin
from diwan.tracing import spans
from diwan.tracing.context import trace_id_of


class EntryFields(TypedDict, total=False):
    """What an entry may say beside its kind and actor.

    `body` is sealed and committed to field by field (ledger/fields.py). `commitments` are values (bytes) that the entry
    commits to without keeping them: only salt and SHA-256 of each are sealed with the body. Both need `cipher`, that of
    the case. `step`, `visit` and `procedure_hash` are the case's own unless given. A `public` entry is shown to anybody
    and names neither run nor trace, for both are the case's.
    """

    body: Mapping[str, JsonValue] | None
    cipher: Cipher | None
    commitments: Mapping[str, bytes]
    approval: EntryApproval | None
    model: EntryModel | None
    detail: Mapping[str, Scalar]
    step: str | None
    visit: int | None
    procedure_hash: str
    workflow_run: str
    attempt: int
    legal_basis: str
    purpose: str
    trace_id: str
    public: bool


@dataclass(slots=True)
class EntryDraft:
    """An entry to be: kind, actor and `EntryFields`."""

    kind: str
    actor: Actor
    body: Mapping[str, JsonValue] | None = None
    cipher: Cipher | None = None
    commitments: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    approval: EntryApproval | None = None
    model: EntryModel | None = None
    detail: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    step: str | None = None
    visit: int | None = None
    procedure_hash: str = ""
    workflow_run: str = ""
    attempt: int = 0
    legal_basis: str = ""
    purpose: str = ""
    trace_id: str = ""
    public: bool = False


@dataclass(frozen=True, slots=True)
class BuiltEntry:
    """An entry ready to be stored; `parameters` are the bind values of `INSERT_ENTRY`."""

    hash: bytes
    parameters: dict[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry goes: the next number of a chain. `case` is the chain itself where it is a case's.

    `traceparent` is the case's: its trace is that of every entry.
    """

    tenant: str
    chain: str
    seq: int
    prev: bytes | None
    case: str = ""
    procedure_hash: str = ""
    step: str = ""
    visit: int = 0
    traceparent: str = ""


BODY = "body"  # what entries once committed to their body as
RESERVED = frozenset({BODY, FIELDS})

INSERT_ENTRY = (
    "INSERT INTO entry (tenant, chain, seq, hash, prev_hash, header, body_sealed, kind, at) VALUES "
    "(:e_tenant, :e_chain, :e_seq, :e_hash, :e_prev_hash, :e_header, :e_body_sealed, :e_kind, :e_at)"
)
_INSERT = text(INSERT_ENTRY)


def body_context(chain: str, seq: int) -> str:
    """The associated data that binds a sealed body to its entry."""
    return f"entry.body_sealed/{chain}/{seq}"


def build_entry(draft: EntryDraft, place: Place, now: datetime) -> BuiltEntry:
    """Encodes, seals and hashes. Raises `Final` where the draft says more than a header may hold or has no cipher."""
    commitments, sealed = _commit(draft, place)
    header = EntryHeader(
        tenant=place.tenant,
        chain=place.chain,
        seq=place.seq,
        prev=place.prev.hex() if place.prev else None,
        at=now,
        kind=draft.kind,
        actor=_acting(draft.actor),
        case=place.case,
        case_seq=place.seq if place.case else 0,
        step=place.step if draft.step is None else draft.step,
        visit=place.visit if draft.visit is None else draft.visit,
        workflow_run="" if draft.public else draft.workflow_run or origin(),
        attempt=draft.attempt,
        code_version=diwan.__version__,
        procedure_hash=draft.procedure_hash or place.procedure_hash,
        model=draft.model,
        commitments=commitments,
        approval=draft.approval,
        legal_basis=draft.legal_basis,
        purpose=draft.purpose,
        trace_id="" if draft.public else trace_id_of(place.traceparent) or draft.trace_id or spans.trace_id(),
        detail=dict(draft.detail),
    )
    encoded = encode(header)
    hashed = entry_hash(encoded)
    return BuiltEntry(
        hashed,
        {
            "e_tenant": place.tenant,
            "e_chain": place.chain,
            "e_seq": place.seq,
            "e_hash": hashed,
            "e_prev_hash": place.prev,
            "e_header": encoded,
            "e_body_sealed": sealed,
            "e_kind": draft.kind,
            "e_at": now,
        },
    )


@lru_cache(maxsize=1024)
def _acting(actor: Actor) -> EntryActor:
    """Few act, and often."""
    return EntryActor(
        kind=actor.kind.value,
        subject=actor.subject,
        roles=tuple(sorted(role.value for role in actor.roles)),
        authentication=actor.authentication,
    )


def _commit(draft: EntryDraft, place: Place) -> tuple[dict[str, str], bytes | None]:
    digests = {name: digest_of(value) for name, value in draft.commitments.items()}
    if draft.body is None and not digests:
        return {}, None
    if draft.cipher is None:
        raise Final("entry.no_cipher", "A body and commitments need the cipher of their case.", "Pass `cipher`.")
    if RESERVED & digests.keys():
        raise Final("entry.bad_commitment", "`body` and `fields` are what is said of a body.", "Pass `body`.")
    random = os.urandom(SEED_BYTES + SALT_BYTES * len(digests))  # asked for at once: each is a call of the system
    committed: dict[str, list[str]] = {}
    commitments: dict[str, str] = {}
    for at, (name, digest) in enumerate(digests.items()):
        salt = random[SEED_BYTES + SALT_BYTES * at :][:SALT_BYTES]
        commitments[name] = commit_digest(salt, digest)
        committed[name] = [_b64(salt), _b64(digest)]
    sealed: dict[str, object] = {"committed": committed}
    if draft.body is not None:
        seed = random[:SEED_BYTES]
        commitments[FIELDS] = commit_fields(seed, draft.body)
        sealed |= {"seed": _b64(seed), "body": draft.body}
    ciphertext = draft.cipher.seal(
        RetentionClass.DECISION, body_context(place.chain, place.seq), orjson.dumps(sealed, option=orjson.OPT_SORT_KEYS)
    )
    return commitments, ciphertext


def _b64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


_LONGEST_SUBJECT = 120


def subject_chain(area: str, subject: str) -> str:
    """The chain of a subject's own outside cases (`refusals/…`, `reads/…`, `exports/…`); a very long subject is named
    by its hash, for a chain's name is short."""
    short = subject if len(subject) <= _LONGEST_SUBJECT else hashlib.sha256(subject.encode()).hexdigest()
    return f"{area}/{short}"


async def append_entry(
    conn: Connection,
    tenant: str,
    chain: str,
    kind: str,
    actor: Actor,
    *,
    now: datetime,
    **said: Unpack[EntryFields],
) -> int:
    """Adds an entry to a chain outside cases, e.g. `refusals/<subject>`, and gives its number.

    A chain's name has a slash in it, which no case's has. Writers of one chain take turns on an advisory lock, which
    is taken after any case's row (docs/data.md, lock order).
    """
    if "/" not in chain:
        raise Final("entry.not_a_chain", "A chain outside cases has a slash in its name.", "Name it `kind/subject`.")
    await take_turn(conn, tenant, chain)
    last = (await conn.execute(_LAST, {"tenant": tenant, "chain": chain})).one_or_none()
    seq, prev = (last.seq + 1, last.hash) if last else (1, None)
    built = build_entry(EntryDraft(kind, actor, **said), Place(tenant, chain, seq, prev), now)
    await conn.execute(_INSERT, built.parameters)
    return int(seq)


async def take_turn(conn: Connection, tenant: str, chain: str) -> None:
    """Until the transaction ends nobody else adds to this chain outside cases; may be repeated."""
    await conn.execute(_TAKE_TURN, {"turn": f"{tenant}\x1f{chain}"})


_TAKE_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(:turn, 0))")
_LAST = text("SELECT seq, hash FROM entry WHERE tenant = :tenant AND chain = :chain ORDER BY seq DESC LIMIT 1")


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry as it is shown: `header` is the canonical JSON as hashed."""

    chain: str
    seq: int
    hash: bytes
    kind: str
    at: datetime
    header: bytes


async def entries_of(
    conn: Connection, tenant: str, chain: str, *, after: int = 0, limit: int = 500
) -> Sequence[EntryRow]:
    """Entries of a chain in order, those with a number above `after`."""
    rows = await conn.execute(_OF_CHAIN, {"tenant": tenant, "chain": chain, "after": after, "limit": limit})
    return [EntryRow(r.chain, r.seq, r.hash, r.kind, r.at, r.header) for r in rows]


_OF_CHAIN = text(
    "SELECT chain, seq, hash, kind, at, header FROM entry "
    "WHERE tenant = :tenant AND chain = :chain AND seq > :after ORDER BY seq LIMIT :limit"
)
