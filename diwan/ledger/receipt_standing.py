"""What became of a letter: the kinds of entries on its chain, and the proof of the last of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from diwan.domain.errors import Tampered
from diwan.ledger.entry import check_header
from diwan.ledger.policy import Policy
from diwan.ledger.proof import check_proof, parse_proof
from diwan.ledger.receipt import ISSUED
from diwan.ledger.receipt_code import chain_of

REPLACED = "letter:receipt:replaced"
WITHDRAWN = "letter:receipt:withdrawn"
# What a letter of the first kind makes of those of its case that went before it. A receipt stays true: it says that an
# application was filed. A reminder repeats its request, and ends nothing. What stood here once holds for the chains of
# its time (receipt_twins.py compares by it): add to it, and change nothing.
ENDS: Mapping[str, Mapping[str, str]] = {
    "request_for_pieces": {"request_for_pieces": REPLACED, "reminder": REPLACED},
    "decision": {"request_for_pieces": REPLACED, "reminder": REPLACED, "decision": REPLACED},
    "withdrawal": {"request_for_pieces": WITHDRAWN, "reminder": WITHDRAWN, "decision": WITHDRAWN},
}


class Stands(StrEnum):
    IN_FORCE = "in_force"
    REPLACED = "replaced"  # by a later letter of its case
    WITHDRAWN = "withdrawn"  # with the application
    UNKNOWN = "unknown"


BY_KIND = {ISSUED: Stands.IN_FORCE, REPLACED: Stands.REPLACED, WITHDRAWN: Stands.WITHDRAWN}


@dataclass(frozen=True, slots=True)
class Shown:
    """How a letter stood, from when, in a log of this size."""

    stands: Stands
    since: datetime
    size: int


def check_standing(proof: bytes, code: str, policy: Policy) -> Shown:
    """What a proof shows of the letter with this code: an entry of its chain, in a log of that size.

    That none followed it is the word of whoever answered. Raises `Tampered`.
    """
    found = parse_proof(proof)
    checkpoint = check_proof(found, found.extra, policy)
    header = check_header(found.extra)
    if header.chain != chain_of(code) or header.kind not in BY_KIND:
        raise Tampered("receipt.other_entry", "That entry of the log says nothing of this letter.")
    return Shown(BY_KIND[header.kind], header.at, checkpoint.size)
