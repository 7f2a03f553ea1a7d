"""Receipts of letters: the chain that each letter has outside its case's, and what is disclosed by it.

A letter's chain begins with its issue, in the transaction that stores the letter; what becomes of it follows. It says
nothing of the case, nor of its trace or run: the case's own entry names the chain, not the other way round. The facts
and the salt that opens the commitment are sealed under the case's key, so that with it all goes that could be told of
the letter.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from diwan.domain.actor import Actor
from diwan.domain.errors import NotFound, Tampered
from diwan.domain.ports import Cipher, RetentionClass
from diwan.ledger.entry import commit
from diwan.ledger.receipt import FACTS, ISSUED, Facts, Receipt, receipt_of
from diwan.ledger.receipt_code import chain_of
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.entries import append_entry
from diwan.store.ledger_proofs import prove_entry
from diwan.store.sealing import context, open_json, seal_json


@dataclass(frozen=True, slots=True)
class SealedReceipt:
    """What a letter's chain begins with, and what is kept of it with the letter."""

    chain: str
    commitment: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Whose letter a chain is of."""

    tenant: str
    case_id: str
    letter: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The last entry of a letter's chain: what became of the letter, and when."""

    seq: int
    kind: str
    at: datetime


def seal_receipt(cipher: Cipher, letter: str, facts: Facts, salt: bytes) -> SealedReceipt:
    """`salt` is 32 random bytes; `letter` the letter's id."""
    said = facts.encoded()
    kept = {"facts": said.decode(), "salt": base64.b64encode(salt).decode()}
    sealed = seal_json(cipher, RetentionClass.DECISION, _context(letter), kept)
    return SealedReceipt(chain_of(facts.code), commit(salt, said), sealed)


async def issue_receipt(change: Change, actor: Actor, receipt: SealedReceipt) -> None:
    """Begins the letter's chain; in the transaction that stores the letter."""
    await _append(change, actor, receipt.chain, ISSUED, {FACTS: receipt.commitment})


async def follow_receipt(change: Change, actor: Actor, chain: str, kind: str, by: str) -> None:
    """Says on a letter's chain what became of it: `kind` is of ledger/receipt_standing.py, `by` the chain of the letter
    that brought it about."""
    await _append(change, actor, chain, kind, {"by": by})


async def _append(change: Change, actor: Actor, chain: str, kind: str, detail: Mapping[str, str]) -> None:
    tenant = change.case.tenant
    await append_entry(change.conn, tenant, chain, kind, actor, now=change.now, detail=detail, public=True)


async def find_receipt(conn: Connection, chain: str) -> Place | None:
    """Whose letter this is, of whichever ministry; the transaction needs no tenant."""
    row = (await conn.execute(_FIND, {"chain": chain})).one_or_none()
    return None if row is None else Place(*row)


_FIND = text("SELECT tenant, case_id, letter FROM diwan_receipt(:chain)")


async def read_receipt(conn: Connection, tenant: str, letter: str, cipher: Cipher) -> Receipt:
    """The receipt of a letter in the last checkpoint. `cipher` is its case's.

    Raises `NotFound` (`receipt.no_code`) for a letter without a code or one that is erased, `Retry` (`ledger.not_yet`)
    while no checkpoint has it, `Tampered` where what is sealed does not open.
    """
    row = (await conn.execute(_OF_LETTER, {"tenant": tenant, "letter": letter})).one_or_none()
    if row is None or row.receipt_chain is None:
        raise NotFound("receipt.no_code", "This letter has no code to check it by.", "Ask the office for a new copy.")
    facts, salt = open_receipt(cipher, letter, row.receipt_sealed)
    proof = await prove_entry(conn, tenant, row.receipt_chain, 1)
    return receipt_of(proof.extra, facts, salt, proof.index, proof.hashes, proof.checkpoint)


def open_receipt(cipher: Cipher, letter: str, sealed: bytes) -> tuple[bytes, bytes]:
    """The facts that a letter's chain commits to, and the salt. Raises `NotFound` where it is erased, `Tampered`."""
    try:
        kept = open_json(cipher, RetentionClass.DECISION, _context(letter), sealed)
        return kept["facts"].encode(), base64.b64decode(kept["salt"], validate=True)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Tampered(
            "receipt.unreadable", "What is sealed of a letter cannot be read.", "Tell the operator."
        ) from None


_OF_LETTER = text("SELECT receipt_chain, receipt_sealed FROM letter WHERE tenant = :tenant AND id = :letter")


async def standing_of(conn: Connection, tenant: str, chain: str) -> Standing:
    """How the letter stands by its chain's last entry. Raises `NotFound` where there is no such chain."""
    row = (await conn.execute(_STANDING, {"tenant": tenant, "chain": chain})).one_or_none()
    if row is None:
        raise NotFound("receipt.no_code", "There is no such letter.", "Check the code.")
    return Standing(row.seq, row.kind, row.at)


_STANDING = text("SELECT seq, kind, at FROM entry WHERE tenant = :tenant AND chain = :chain ORDER BY seq DESC LIMIT 1")


def _context(letter: str) -> str:
    return context("letter.receipt_sealed", letter)
