"""A letter's receipt in a small log: what tests of codes, pages and commands are tried on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from diwan.ledger.entry import EntryActor, EntryHeader, commit, encode
from diwan.ledger.note import SigningKey
from diwan.ledger.policy import Policy, Witness, parse_policy
from diwan.ledger.receipt import FACTS, ISSUED, Facts, Receipt, receipt_of
from diwan.ledger.receipt_code import chain_of, code_of
from tests.ledger.logs import MemoryLog, cosigned, witness

LETTER = b"%PDF a letter"
CODE = code_of(b"a code that nobody can guess")
SALT = bytes(range(32))
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def facts(**changes: Any) -> Facts:
    said: dict[str, Any] = {
        "code": CODE,
        "kind": "decision",
        "number": "DW-2026-000142/3",
        "date": date(2026, 11, 23),
        "office": "وزارة السكنى النموذجية (إدارة خيالية) — مصلحة الدعم المباشر للسكن",
        "language": "ar",
        "result": "granted",
        "pdf": hashlib.sha256(LETTER).hexdigest(),
    }
    return Facts(**{**said, **changes})


def header(of: Facts, salt: bytes = SALT, **changes: Any) -> bytes:
    said: dict[str, Any] = {
        "tenant": "demo",
        "chain": chain_of(of.code),
        "seq": 1,
        "at": AT,
        "kind": ISSUED,
        "actor": EntryActor(kind="system", subject="worker"),
        "code_version": "0.1.0",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "detail": {FACTS: commit(salt, of.encoded())},
    }
    return encode(EntryHeader(**{**said, **changes}))


@dataclass(frozen=True)
class Issued:
    """A receipt, and the policy of whoever trusts its log."""

    receipt: Receipt
    log: MemoryLog
    policy: Policy
    policy_text: str


def issued(
    of: Facts | None = None,
    *,
    entry: bytes | None = None,
    said: bytes | None = None,
    beside: int = 100,
    witnesses: tuple[SigningKey, ...] = (),
) -> Issued:
    """A letter's receipt among `beside` other entries."""
    of = of or facts()
    entry = entry or header(of)
    log = MemoryLog()
    log.add(*(b"before %d" % number for number in range(beside // 2)), entry)
    log.add(*(b"after %d" % number for number in range(beside - beside // 2)))
    note = cosigned(log.checkpoint(), *witnesses)
    proof = log.proof(beside // 2, note)
    receipt = receipt_of(entry, said or of.encoded(), SALT, proof.index, proof.hashes, note)
    lines = [f"log {log.key.verifier}", *(f"witness {each.name} {each.verifier}" for each in witnesses)]
    if witnesses:
        lines.append(f"group all-of-them all {' '.join(each.name for each in witnesses)}")
    lines.append("quorum all-of-them" if witnesses else "quorum none")
    text = "\n".join(lines) + "\n"
    return Issued(receipt, log, parse_policy(text.encode()), text)


__all__ = ["AT", "CODE", "LETTER", "SALT", "Issued", "Witness", "facts", "header", "issued", "witness"]
