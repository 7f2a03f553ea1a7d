"""A recorded call sent again, by a pool worker beside an engine that is what answered it then.

The very bytes on record are sent, once they are known to be those that the ledger committed to: the tenant's cache salt
of then is in them, and so is the seed. Whether they may go to this engine is looked at as for any call.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from temporalio import activity

from activities.egress import check_egress
from activities.engine_call import Answer, ask
from activities.heartbeat import heartbeats
from agents.compare import compare
from diwan.domain.actor import system
from diwan.domain.errors import DiwanError, NotFound, Unavailable
from diwan.domain.ports import Cipher, Keyring
from diwan.domain.rerun import Conditions, Known, Outcome, Side, mismatch
from diwan.pool.engine import EngineClient
from diwan.pool.health import Health, of_engine
from diwan.pool.registry import Model
from diwan.store.call_records import CallRecord, Exchange, call_record, check_committed, exchange_of
from diwan.store.calls import opened_request, opened_response
from diwan.store.cases import get_case
from diwan.store.change import change_case
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.procedures import published_by_hash
from diwan.store.reruns import Came, RerunRow, end_rerun, get_rerun
from workflows.calls import RERUN_CALL, RerunRef

Clock = Callable[[], datetime]


class RerunCalls:
    """As `ModelActivities`, for calls that were answered before."""

    def __init__(
        self,
        db: Database,
        keyring: Keyring,
        engine: EngineClient,
        model: Model,
        clock: Clock,
        *,
        host: str,
        health: Health,
        batch_invariant: Known = Known.UNKNOWN,
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._engine = engine
        self._model = model
        self._clock = clock
        self._host = host
        self._health = health
        self._batch_invariant = batch_invariant

    @activity.defn(name=RERUN_CALL.name)
    async def rerun_call(self, given: RerunRef) -> str:
        """Sends it, compares, records; gives how it ended. What it cannot do it raises, and nothing is recorded."""
        async with heartbeats():
            try:
                return await self._rerun(given)
            except Unavailable as error:
                self._health.missed(error)
                raise

    async def _rerun(self, given: RerunRef) -> str:
        cipher = await self._keyring.cipher(given.tenant, given.case)
        async with self._db.transaction(given.tenant, snapshot=True) as conn:
            row = await get_rerun(conn, given.tenant, given.case, given.rerun)
            if row.status is not Outcome.ASKED:
                return row.status.value
            self._health.stand_by()
            record = await call_record(conn, given.tenant, given.case, row.number)
            self._check_own(record)
            await self._check_egress(conn, given)
            exchange = await exchange_of(conn, given.tenant, record, given.case)
        request, response = _as_recorded(exchange, cipher, given.case, row)
        answer = await self._ask(request)
        said = "" if answer.broken else answer.fingerprint or self._model.engine
        now = self._side().model_copy(update={"fingerprint": said, "cached_tokens": answer.cached_tokens})
        came = Came(
            answer.body,
            compare(response, answer.body),
            Conditions(then=record.then, now=now, temperature=record.temperature, seed=record.seed),
        )
        async with (
            self._db.transaction(given.tenant) as conn,
            change_case(conn, given.tenant, given.case, now=self._clock()) as change,
        ):
            await end_rerun(change, row, system(given.tenant, "pool"), cipher, came=came)
        return (Outcome.IDENTICAL if came.comparison.identical else Outcome.DIFFERS).value

    def _side(self) -> Side:
        """What this host is now."""
        return Side(
            model=self._model.name,
            weights_digest=self._model.weights_digest,
            tokenizer_digest=self._model.tokenizer_digest or "",
            engine_version=self._health.version,
            batch_invariant=self._batch_invariant,
            host=self._host,
        )

    def _check_own(self, record: CallRecord) -> None:
        """Whoever put it here may have read what this host was before it was upgraded."""
        other = mismatch(record.then, self._side())
        if other:
            raise Unavailable(
                "rerun.other_engine", f"This host is not what answered then ({other}).", "Another host takes the call."
            )

    async def _check_egress(self, conn: Connection, given: RerunRef) -> None:
        case = await get_case(conn, given.tenant, given.case)
        published = await published_by_hash(conn, given.tenant, case.procedure_hash)
        await check_egress(conn, given.tenant, published.procedure, self._model, self._engine.outside)

    async def _ask(self, request: bytes) -> Answer:
        """An engine's fault is raised so that the call goes elsewhere."""
        try:
            return await ask(self._engine, self._model.name, self._health, request)
        except DiwanError as error:
            if not of_engine(error):
                raise
            raise Unavailable(error.code, error.message, "Another host takes the call.") from None


def _as_recorded(exchange: Exchange, cipher: Cipher, case: str, row: RerunRow) -> tuple[bytes, bytes]:
    """Request and answer as the ledger committed to them. Raises `Tampered`, `NotFound` for what is erased."""
    place = (row.run_id, row.call, row.attempt)
    if exchange.response_sealed is None:
        raise NotFound("rerun.no_answer", "No answer of this call is stored.", "Verify the ledger.")
    request = opened_request(cipher, *place, exchange.request_sealed)
    response = opened_response(cipher, *place, exchange.response_sealed)
    check_committed(exchange, cipher, case, row.entry_seq, {"request": request, "response": response})
    return request, response
