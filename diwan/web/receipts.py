"""/ledger/receipts: whether a letter still stands, for anybody who has its code, and nothing to anybody else.

What is told is what the letter's own receipt tells. A code that names nothing, one that never could, and one whose case
is erased have the same answer: what there is cannot be found by trying.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from diwan.domain.errors import NeedsPerson, NotFound, Retry, Unavailable
from diwan.domain.ports import Cipher
from diwan.ledger.receipt import pack
from diwan.ledger.receipt_code import chain_of, read_code
from diwan.ledger.receipt_standing import BY_KIND, Stands
from diwan.store.ledger_proofs import prove_entry
from diwan.store.receipts import Place, find_receipt, read_receipt, standing_of
from diwan.web.dependencies import Dependencies, Deps

router = APIRouter(prefix="/ledger", tags=["ledger"])

_WINDOW = timedelta(minutes=1)


class Standing(BaseModel):
    """`since` when the letter stands so; `receipt` is what its sheet carries, `proof` that of the entry which says how
    it stands, each empty for a second until the tree is signed."""

    status: Stands = Stands.UNKNOWN
    since: datetime | None = None
    receipt: str = Field(default="", description="as on the letter's verification sheet")
    proof: str = Field(default="", description="c2sp.org/tlog-proof with the entry as its extra data")


class Bound:
    """So many questions a minute and process: anybody may ask, and each costs the vault and the database something.

    It shields those, not one client from another: which address asks, only the proxy knows (docs/operations.md).
    """

    def __init__(self, clock: Callable[[], datetime], per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._since: datetime | None = None
        self._asked = 0

    def take(self) -> None:
        """Raises `Unavailable` where there were too many."""
        now = self._clock()
        # A clock that was set back begins a new minute too.
        if self._since is None or not timedelta(0) <= now - self._since < _WINDOW:
            self._since, self._asked = now, 0
        self._asked += 1
        if self._asked > self._per_minute:
            raise Unavailable("receipt.too_many", "Too many letters are being checked now.", "Ask again in a minute.")


@router.get("/receipts/{code}", summary="Whether the letter with this code still stands")
async def standing(request: Request, response: Response, deps: Deps, code: str) -> Standing:
    # The page that anybody may keep asks from wherever it lies.
    response.headers["access-control-allow-origin"] = "*"
    response.headers["cross-origin-resource-policy"] = "cross-origin"
    spelled = read_code(code)
    if not spelled:
        return Standing()  # what cannot be a code takes nobody's turn
    bound: Bound = request.app.state.receipts
    bound.take()
    chain = chain_of(spelled)
    async with deps.db.transaction(None) as conn:
        place = await find_receipt(conn, chain)
    if place is None:
        return Standing()
    try:
        return await _told(deps, place, chain, await deps.cipher(place.tenant, place.case_id))
    except NotFound:
        return Standing()  # erased with its case


async def _told(deps: Dependencies, place: Place, chain: str, cipher: Cipher) -> Standing:
    async with deps.db.transaction(place.tenant) as conn:
        found = await standing_of(conn, place.tenant, chain)
        said = Standing(status=BY_KIND.get(found.kind, Stands.UNKNOWN), since=found.at)
        try:
            receipt = pack(await read_receipt(conn, place.tenant, place.letter, cipher))
            proof = bytes(await prove_entry(conn, place.tenant, chain, found.seq)).decode()
        except (Retry, NeedsPerson) as error:
            if error.code not in ("ledger.not_yet", "ledger.log_left"):
                raise
            return said
    return said.model_copy(update={"receipt": receipt, "proof": proof})
