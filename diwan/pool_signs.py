"""Signs of life of one host of the pool: what its gate, its watch and its engine say, written to Postgres."""

from __future__ import annotations

from diwan.domain.rerun import Known
from diwan.pool.clock import SharedClock
from diwan.pool.gate import Gate
from diwan.pool.health import Health
from diwan.pool.registry import Model
from diwan.store.database import Database
from diwan.store.pool_hosts import ENDED, OUT, SERVING, HostSigns, give_sign


class Signs:
    """`db` connects as diwan_pool; `most` is the room that operators gave the engine, `batch_invariant` whether it runs
    in that mode."""

    def __init__(
        self,
        db: Database,
        host: str,
        model: Model,
        gate: Gate,
        health: Health,
        clock: SharedClock,
        *,
        most: int,
        batch_invariant: Known,
    ) -> None:
        self._db = db
        self._host = host
        self._model = model
        self._gate = gate
        self._health = health
        self._clock = clock
        self._most = most
        self._batch_invariant = batch_invariant

    async def pass_once(self) -> int:
        """One sign; 0: there is no more to do now."""
        await self._give(OUT if self._health.out else SERVING, self._health.out)
        return 0

    async def end(self) -> None:
        """The last one: the host has drained."""
        await self._give(ENDED, "")

    async def _give(self, state: str, reason: str) -> None:
        load = self._health.load
        signs = HostSigns(
            host=self._host,
            model=self._model.name,
            version=self._health.version,
            state=state,
            reason=reason,
            room=self._gate.room,
            most=self._most,
            calls=self._gate.used,
            running=load.running,
            waiting=load.waiting,
            kv_used=load.kv_used,
            prefix_queries=load.prefix_queries,
            prefix_hits=load.prefix_hits,
            weights_digest=self._model.weights_digest,
            tokenizer_digest=self._model.tokenizer_digest or "",
            batch_invariant=self._batch_invariant.value,
            clock_off_s=round(self._clock.off_s, 1),
        )
        async with self._db.transaction(None) as conn:
            await give_sign(conn, signs)
