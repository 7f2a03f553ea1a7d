"""One call of an engine: its watch is told how it ended, and a span and figures say so. Nothing of what was asked or
answered is in them."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from agents.usage import Usage
from diwan import metrics
from diwan.domain.errors import DiwanError
from diwan.pool.engine import EngineClient
from diwan.pool.errors import EngineJunk, EngineRejected
from diwan.pool.health import Health, of_engine
from diwan.tracing import genai, names, spans

_ANSWERED = "answered"


class EngineCall:
    """`ended` is how: `answered`, or the machine name of what went wrong."""

    def __init__(self, model: str, work: spans.Work) -> None:
        self._model = model
        self._work = work
        self.ended = _ANSWERED

    def answered(self, usage: Usage, model: str) -> None:
        """`model` is what the engine calls itself."""
        self._work.say(
            {
                genai.RESPONSE_MODEL: model,
                genai.INPUT_TOKENS: usage.prompt_tokens,
                genai.OUTPUT_TOKENS: usage.completion_tokens,
                genai.CACHED_TOKENS: usage.cached_tokens,
            }
        )
        metrics.ENGINE_TOKENS.add(usage.prompt_tokens, self._model, "prompt")
        metrics.ENGINE_TOKENS.add(usage.cached_tokens, self._model, "cached")
        metrics.ENGINE_TOKENS.add(usage.completion_tokens, self._model, "completion")


@contextmanager
def engine_call(model: str) -> Generator[EngineCall]:
    """The call happens in the block; how it ended is on record whatever happens."""
    about = {genai.OPERATION: genai.CHAT, genai.PROVIDER: "vllm", genai.REQUEST_MODEL: model}
    began = time.monotonic()
    metrics.ENGINE_RUNNING.add(1, model)
    with spans.span(f"{genai.CHAT} {model}", spans.CLIENT, about) as work:
        call = EngineCall(model, work)
        try:
            yield call
        except BaseException as error:
            call.ended = spans.code_of(error)
            raise
        finally:
            metrics.ENGINE_RUNNING.add(-1, model)
            metrics.ENGINE_CALLS.add(1, model, call.ended)
            metrics.ENGINE_SECONDS.observe(time.monotonic() - began, model)
            if call.ended != _ANSWERED:
                work.say({names.ERROR: call.ended})


@dataclass(frozen=True)
class Answer:
    """An engine's answer as it came. `broken` says why there may be nothing to read in it: endless, junk."""

    body: bytes
    broken: str = ""
    fingerprint: str = ""
    cached_tokens: int | None = None


async def ask(engine: EngineClient, model: str, health: Health, request: bytes) -> Answer:
    """Send the bytes of a request. What an engine says is an answer, readable or not; its faults are raised.

    First of all its watch is told of a fault: what fails here is not to be asked for again from here.
    """
    try:
        with engine_call(model) as call:
            try:
                answer = await health.calls.ask(engine.chat(request, traceparent=spans.traceparent()))
            except EngineJunk as junk:
                if of_engine(junk):
                    raise
                if junk.endless:
                    health.fault(junk)  # kept as an answer; the engine may be ill all the same
                call.ended = spans.code_of(junk)
                return Answer(junk.body, "endless" if junk.endless else "junk")
            if answer.model not in ("", model):
                raise EngineRejected("engine.wrong_model", "The engine serves another model.", "Check the registry.")
            call.answered(answer.usage, answer.model)
    except DiwanError as error:
        if of_engine(error):
            health.fault(error)
        raise
    health.answered()
    return Answer(answer.body, "", answer.fingerprint, answer.usage.cached_tokens)
