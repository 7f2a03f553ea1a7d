"""The model call, carried out by a pool worker beside its engine: request built from Postgres, answer stored first.

Exact bytes of request and response are kept for every attempt; the first stored answer of a call is the one used.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from temporalio import activity

from activities.briefing import Brief, read_brief
from activities.egress import check_egress
from activities.engine_call import Answer, ask
from activities.heartbeat import heartbeats
from activities.transcript import Fresh, Transcripts, parsed_answer, read_transcript
from agents.examiner import brief
from agents.loop import Turn
from agents.messages import Briefing, build_request
from agents.registry import spec_of
from agents.spec import AgentSpec
from diwan.domain.actor import agent
from diwan.domain.errors import DiwanError, Final, Unavailable
from diwan.domain.ports import Cipher, Keyring
from diwan.domain.rerun import Known
from diwan.ledger.entry import EntryModel
from diwan.pool.engine import EngineClient, wire_request
from diwan.pool.errors import EngineJunk
from diwan.pool.health import Health, of_engine
from diwan.pool.registry import Model
from diwan.store import briefs, calls
from diwan.store.change import change_case
from diwan.store.database import Database
from workflows.calls import CALL_MODEL, ModelCall

log = structlog.get_logger()

# Attempts of one call that an engine with room for it failed, before it is the call that is at fault: one that kills
# whatever engine takes it would end the pool.
_MOST_FAULTS = 8

Clock = Callable[[], datetime]


class ModelActivities:
    """`db` connects as diwan_pool; `engine` serves `model` beside this worker, on `host`; `health` watches it.

    `batch_invariant`: whether the engine runs in that mode.
    """

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
        self._batch_invariant = batch_invariant
        self.health = health
        self._salts: dict[str, str] = {}
        self._transcripts = Transcripts()

    @activity.defn(name=CALL_MODEL.name)
    async def call_model(self, given: ModelCall) -> Turn:
        """One call, or the answer it has already. Engine faults are raised; what an engine says is a `Turn`."""
        async with heartbeats():
            try:
                turn = await self._call(given)
            except Unavailable as error:
                self.health.missed(error)
                raise
        return turn.model_copy(update={"waited_s": _waited_s()})

    async def _call(self, given: ModelCall) -> Turn:
        spec = spec_of(given.spec)
        cipher = await self._keyring.cipher(given.tenant, given.case)
        salt = await self._cache_salt(given.tenant)
        # One transaction, without the case's lock: what is read makes the request, which is stored before it is sent.
        async with self._db.transaction(given.tenant) as conn:
            briefs.ask_ahead(conn, given.tenant, given.case)
            transcript = await self._transcripts.read(conn, given.tenant, spec, given.run, cipher)
            if len(transcript.turns) >= given.call:
                return transcript.exchanges[given.call - 1].parsed.turn
            # Each attempt's request is kept: while the engine is out none is made.
            self.health.stand_by()
            read = await read_brief(conn, given.tenant, given.case, cipher)
            await check_egress(conn, given.tenant, read.procedure, self._model, self._engine.outside)
            briefing = _briefing(read)
            request = wire_request(
                build_request(
                    spec,
                    briefing,
                    transcript.exchanges,
                    final=given.final,
                    model=self._model.name,
                    sampling=self._model.sampling,
                ),
                cache_salt=salt,
                request_id=f"{given.run}/{given.call}",
            )
            attempt, faults = transcript.attempts.get(given.call, 0) + 1, transcript.faults.get(given.call, 0)
            if faults >= _MOST_FAULTS:
                raise Final("engine.call_fails", "No engine comes through this call.", "A person examines the dossier.")
            calls.store_request(
                conn,
                given.tenant,
                case_id=given.case,
                run=given.run,
                call=given.call,
                attempt=attempt,
                final=given.final,
                model=self._model.name,
                host=self._host,
                request=request,
                cipher=cipher,
                now=self._clock(),
            )
        try:
            answer = await ask(self._engine, self._model.name, self.health, request)
        except DiwanError as error:
            await self._store_failure(given, spec, cipher, attempt, request, error)
            if not of_engine(error):
                raise
            raise Unavailable(error.code, error.message, "Another host takes the call.") from None
        return await self._store(given, spec, cipher, attempt, request, answer)

    async def _cache_salt(self, tenant: str) -> str:
        """The tenant's own, so that none can probe another's prefix cache. The vault is asked once a process."""
        if tenant not in self._salts:
            self._salts[tenant] = await self._keyring.token(tenant, "engine.cache_salt", tenant)
        return self._salts[tenant]

    async def _store_failure(
        self, given: ModelCall, spec: AgentSpec, cipher: Cipher, attempt: int, request: bytes, error: DiwanError
    ) -> None:
        """The attempt is on record with its reason; where even that fails it stays one that was sent."""
        body = error.body if isinstance(error, EngineJunk) else None
        try:
            async with (
                self._db.transaction(given.tenant) as conn,
                change_case(conn, given.tenant, given.case, now=self._clock()) as change,
            ):
                calls.store_failure(
                    change, cipher, run=given.run, call=given.call, attempt=attempt, reason=error.code, body=body
                )
                change.record(
                    "agent:model:failed",
                    agent(given.tenant, spec.name),
                    cipher=cipher,
                    model=EntryModel(name=self._model.name, weights_digest=self._model.weights_digest),
                    commitments={"request": request, **({} if body is None else {"response": body})},
                    step=given.step,
                    visit=given.visit,
                    attempt=attempt,
                    detail={"call": given.call, "final": given.final, "reason": error.code, "host": self._host},
                )
        except DiwanError as failure:
            log.warning("call.failure_unrecorded", run=given.run, reason=error.code, error=failure.code)

    async def _store(
        self, given: ModelCall, spec: AgentSpec, cipher: Cipher, attempt: int, request: bytes, answer: Answer
    ) -> Turn:
        parsed = parsed_answer(spec, answer.body, final=given.final, broken_as=answer.broken)
        turn = parsed.turn
        usage = {name: getattr(turn, name) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
        now = self._clock()
        command = calls.answer_command(
            given.tenant,
            cipher,
            run=given.run,
            call=given.call,
            attempt=attempt,
            body=answer.body,
            broken=answer.broken,
            engine=self._engine_name(answer),
            usage=usage,
            now=now,
        )
        async with self._db.transaction(given.tenant) as conn:
            conn.ask_ahead(command)  # goes with the lock, after it
            async with change_case(conn, given.tenant, given.case, now=now) as change:
                stored = await calls.store_answer(change, command)
                change.record(
                    "agent:model:called",
                    agent(given.tenant, spec.name),
                    cipher=cipher,
                    model=EntryModel(
                        name=self._model.name,
                        weights_digest=self._model.weights_digest,
                        engine=self._engine_name(answer),
                        sampling={**self._model.sampling.recorded(), "max_tokens": spec.budgets.answer_tokens},
                        seed=self._model.sampling.seed,
                    ),
                    commitments={"request": request, "response": answer.body},
                    step=given.step,
                    visit=given.visit,
                    attempt=attempt,
                    detail={
                        "call": given.call,
                        "final": given.final,
                        "kind": turn.kind.value,
                        "why": turn.why,
                        "used": stored.used,
                        "host": self._host,
                        **usage,
                        # For whoever sends it again, years later (docs/adr/0021).
                        "tokenizer_digest": self._model.tokenizer_digest or "",
                        "engine_version": self.health.version,
                        "batch_invariant": self._batch_invariant.value,
                    },
                )
        if given.final:
            self._transcripts.forget(given.tenant, given.run)
        if stored.used:
            self._transcripts.came(given.tenant, given.run, Fresh(given.call, answer.body, parsed))
            return turn.model_copy(update={"host": self._host}) if self._host else turn
        async with self._db.transaction(given.tenant) as conn:
            transcript = await read_transcript(conn, given.tenant, spec, given.run, cipher)
        return transcript.exchanges[given.call - 1].parsed.turn if len(transcript.turns) >= given.call else turn

    def _engine_name(self, answer: Answer) -> str:
        return answer.fingerprint or self._model.engine


def _briefing(of: Brief) -> Briefing:
    return brief(of.procedure, of.language, of.documents, identity_number=of.identity_number)


def _waited_s() -> float:
    """How long this call was in its queue, by Temporal's clock."""
    info = activity.info()
    return max(round((info.started_time - info.current_attempt_scheduled_time).total_seconds(), 1), 0.0)
