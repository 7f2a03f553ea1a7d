"""Watches the engine beside a pool worker: how much it can take, and whether it is to be asked at all.

Out: the gate is closed before a fault of the engine is raised, or a dead engine behind a live poller swallows the
queue; what waits goes to other hosts. A probe, that ends in one real token, lets it in again, with back-off: an engine
that answers probes and fails calls is asked ever less often. A host that is cut off from the service (Postgres, vault,
Temporal) is out like one whose engine is dead: it could do nothing with a call but lose it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

from diwan import metrics
from diwan.domain.errors import DiwanError, Unavailable
from diwan.pool.engine import EngineClient
from diwan.pool.errors import EngineBusy, EngineUntrusted
from diwan.pool.gate import Gate
from diwan.pool.in_flight import GIVEN_UP, InFlight
from diwan.pool.load import EngineLoad

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]

_LOOK_S = 2.0
_MODELS_EVERY = 15  # looks
_PARTS_EVERY = 2  # looks
_PART_S = 5.0
_PARTS_MISSED = 2  # in a row: a part that is only slow is asked for no less
_PROBE_S = 30.0
_SLOW_S = 10.0
_STALLED_S = 60.0
_FIRST_REST_S, _LONGEST_REST_S = 0.5, 30.0
# Looks in a row that say the same, before the room changes by one: a call waits for a moment before each prefill.
_LOOKS_TO_LOWER, _LOOKS_TO_RAISE = 2, 3
_KV_FULL = 0.9

STARTING = "starting"
# By what a call fails with. `database.busy` is no sign: all connections are in use.
_OF_PARTS = {"database": ("database.unavailable",), "vault": ("vault.",)}
_REASONS = {
    "engine.unreachable": "unreachable",
    "engine.timed_out": "hung",
    "engine.too_slow": "hung",
    "engine.failed": "failed",
    "engine.busy": "busy",
    "engine.not_json": "junk",
    "engine.odd_json": "junk",
    "engine.too_long": "junk",
    "engine.unknown_model": "wrong_model",
    "engine.wrong_model": "wrong_model",
    "engine.credential_refused": "refused",
    "engine.certificate_expired": "certificate_expired",
    "engine.certificate_other_name": "certificate_other_name",
    "engine.certificate_unknown_authority": "certificate_unknown_authority",
    "engine.certificate_refused": "certificate_refused",
    "engine.no_tls": "no_tls",
    GIVEN_UP: "hung",
}
# What a model says may make these: the same on every host.
_OF_MODELS = ("engine.odd_json", "engine.too_long", "engine.too_slow")
# Of a probe after a fault: whoever still waits for this engine waits in vain.
_DEAD = ("unreachable", "hung")


def of_engine(error: DiwanError) -> bool:
    """Whether it is the engine's fault and not the call's: the same call goes to another host."""
    return error.code in _REASONS and error.code not in _OF_MODELS


class Health:
    """`out` is empty while the engine serves, else why not: starting, unreachable, failed, hung, slow, junk, busy,
    wrong_model, wrong_version, refused, certificate_…, no_tls, or the part of the service that is away: no_database,
    no_vault, no_temporal (`parts` by name: each raises, or takes long, where it is).

    `most` is the room that operators gave it; `registered` the engine and version of the model's entry, as in `vllm
    0.32.0`; `calls` are those that it has; `clock` counts seconds. `news` is set each time `out` changes."""

    def __init__(
        self,
        engine: EngineClient,
        model: str,
        gate: Gate,
        *,
        most: int,
        registered: str = "",
        parts: Mapping[str, Check] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._model = model
        self._gate = gate
        self._most = most
        self._registered = registered
        self._parts = parts or {}
        self._clock = clock
        self.calls = InFlight()
        self.news = asyncio.Event()
        self._woken = asyncio.Event()
        self._faults = 0  # in a row, with no call answered between them
        self._waits = self._full = self._looks = self._missed = 0
        self._moved = (0, clock())  # tokens, and when they changed last
        self.out = ""
        self.version = ""
        self.load = EngineLoad()

    # --- what calls tell it -----------------------------------------------------------------------------------------

    def stand_by(self) -> None:
        """Raises `Unavailable` while the engine is out: for whoever would ask it something now."""
        if self.out:
            raise Unavailable("engine.out", f"The engine is out ({self.out}).", "Another host takes the call.")

    def answered(self) -> None:
        """A call was answered as one should be."""
        self._faults = 0

    def missed(self, error: DiwanError) -> None:
        """A call could not be done for want of a part of the service; told before the error is raised."""
        part = next((part for part, codes in _OF_PARTS.items() if error.code.startswith(codes)), "")
        if part in self._parts:
            self.take_out(f"no_{part}")

    def fault(self, error: DiwanError) -> None:
        """A call failed by the engine's fault; told before the error is raised."""
        if error.code == GIVEN_UP:
            return  # it was the watch that said so
        if isinstance(error, EngineBusy) and self._gate.used > 1:
            # It takes what it had before this call.
            self._set_room(min(self._gate.room, self._gate.used - 1))
            return
        self.take_out(_REASONS.get(error.code, "failed"))

    def take_out(self, reason: str) -> None:
        """Ask the engine nothing until a probe is answered."""
        self._gate.close()
        if not self.out:
            self._faults += 1
            log.warning("engine.out", model=self._model, reason=reason)
        self._say(reason)
        self._woken.set()

    # --- the watch --------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Looks every two seconds, probes while the engine is out, until `stop`."""
        watching, stopping = asyncio.create_task(self._watch()), asyncio.create_task(stop.wait())
        await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if watching.done():
            watching.result()  # raises: it never ends by itself
        watching.cancel()

    async def _watch(self) -> None:
        while True:
            if self.out:
                await asyncio.sleep(self.rest_s)
                await self.try_again()
                continue
            self._woken.clear()
            await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _LOOK_S)

    async def try_again(self) -> bool:
        """One probe; lets the engine in where it is answered."""
        reason = await self._probe()
        if reason:
            self._faults += 1
            self._say(reason)
            if reason in _DEAD and (lost := self.calls.give_up()):
                log.warning("engine.calls_given_up", model=self._model, calls=lost)
            return False
        self.admit()
        return True

    def admit(self) -> None:
        """Let it in, whatever it is."""
        self._moved = (self.load.tokens, self._clock())
        self._waits = self._full = self._missed = 0
        self._say("")
        self._gate.open()
        log.info("engine.admitted", model=self._model, version=self.version)

    async def look(self) -> None:
        """One look at an engine that serves: whether it is well, and whether its room is right."""
        self._looks += 1
        if reason := await self._unwell():
            self.take_out(reason)
            return
        if self._missed or self._looks % _PARTS_EVERY == 0:
            reason = await self._cut_off()
            self._missed = self._missed + 1 if reason else 0
            if self._missed >= _PARTS_MISSED:
                self.take_out(reason)
                return
        if self._looks % _MODELS_EVERY == 0 and (reason := await self._serves_its_model()):
            self.take_out(reason)
            return
        load = await self._engine.load()
        if load is not None:
            self.load = load
            if self._stalled(load):
                self.take_out("hung")
                return
            self._adapt(load)

    async def _probe(self) -> str:
        """Why the engine is not to be asked; empty where it is."""
        if reason := await self._cut_off():
            return reason
        began = self._clock()
        if reason := await self._unwell():
            return reason
        if reason := await self._serves_its_model():
            return reason
        try:
            await self._engine.probe(self._model, seconds=_PROBE_S)
        except DiwanError as error:
            return _REASONS.get(error.code, "failed")
        return "slow" if self._clock() - began > _SLOW_S else ""

    async def _cut_off(self) -> str:
        """Which part of the service does not answer; empty where all do."""
        for name, check in self._parts.items():
            try:
                async with asyncio.timeout(_PART_S):
                    await check()
            except Exception as error:  # whatever is wrong with it: it cannot be used now
                log.warning("host.part_away", part=name, error=type(error).__name__)
                return f"no_{name}"
        return ""

    async def _unwell(self) -> str:
        try:
            await self._engine.check()
        except EngineUntrusted as error:
            return _REASONS[error.code]
        except DiwanError:
            return "unreachable"
        return ""

    async def _serves_its_model(self) -> str:
        try:
            said = await self._engine.info()
        except DiwanError as error:
            return _REASONS.get(error.code, "failed")
        self.version = said.version
        if self._model not in said.models:
            return "wrong_model"
        return "wrong_version" if _other_version(self._registered, said.version) else ""

    def _stalled(self, load: EngineLoad) -> bool:
        """Calls run, and for long no token was read or made: a device that is lost leaves /health as it was."""
        now = self._clock()
        if load.running == 0 or self._gate.used == 0 or load.tokens != self._moved[0]:
            self._moved = (load.tokens, now)
        return now - self._moved[1] > _STALLED_S

    def _adapt(self, load: EngineLoad) -> None:
        """One call less where calls wait within the engine, one more where it is full and none does."""
        full = self._gate.used >= self._gate.room and load.kv_used < _KV_FULL
        self._waits = self._waits + 1 if load.waiting else 0
        self._full = self._full + 1 if full and not load.waiting else 0
        if self._waits >= _LOOKS_TO_LOWER:
            self._set_room(self._gate.room - 1)
        elif self._full >= _LOOKS_TO_RAISE:
            self._set_room(self._gate.room + 1)

    def _set_room(self, room: int) -> None:
        self._waits = self._full = 0
        self._gate.set_room(max(1, min(room, self._most)))
        metrics.ENGINE_ROOM.set(0 if self.out else self._gate.room, self._model)

    def _say(self, reason: str) -> None:
        if reason != self.out:
            self.news.set()
        self.out = reason
        metrics.ENGINE_ROOM.set(0 if reason else self._gate.room, self._model)
        metrics.ENGINE_OUT.replace({(self._model, reason): 1} if reason else {(self._model, ""): 0})

    @property
    def rest_s(self) -> float:
        """Seconds until the next probe: none after the first fault, for most pass; then ever more."""
        if self._faults <= 1:
            return 0.0
        return min(_LONGEST_REST_S, _FIRST_REST_S * 2.0 ** min(self._faults - 2, 16))


def _other_version(registered: str, said: str) -> bool:
    """Whether a vLLM says another version; a build's suffix (`+cpu`) counts only where one is registered."""
    name, _, version = registered.partition(" ")
    return name == "vllm" and bool(version) and said not in ("", version) and said.partition("+")[0] != version
