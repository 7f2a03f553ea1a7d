"""What a letter's receipt discloses, and which letters stop to stand when another goes out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from diwan.documents.content import Decision, Letter
from diwan.domain.actor import Actor
from diwan.ledger.receipt import ISSUED, OFFICE, Facts
from diwan.ledger.receipt_standing import ENDS
from diwan.store import letters, receipts
from diwan.store.change import Change


def facts_of(letter: Letter, pdf: bytes) -> Facts:
    """What whoever has the letter's code may know of it."""
    return Facts(
        code=letter.code,
        kind=letter.kind,
        number=letter.number,
        date=letter.date,
        office=letter.office.name[:OFFICE],
        language=letter.language.value,
        result=letter.result.value if isinstance(letter, Decision) else "",
        sample=letter.sample,
        pdf=hashlib.sha256(pdf).hexdigest(),
    )


async def follow(change: Change, actor: Actor, kind: str, chain: str, written: Sequence[letters.LetterRow]) -> None:
    """Says on the chains of earlier letters that the letter of `chain`, of this kind, has ended them."""
    for row in written:
        became = ENDS.get(kind, {}).get(row.kind)
        if became is None or row.receipt_chain is None:
            continue
        standing = await receipts.standing_of(change.conn, change.case.tenant, row.receipt_chain)
        if standing.kind == ISSUED:
            await receipts.follow_receipt(change, actor, row.receipt_chain, became, chain)
