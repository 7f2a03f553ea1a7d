"""What is seen of an engine's call: a span with GenAI's names, and figures. Nothing of what was asked or answered."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from agents.usage import Usage
from diwan import metrics
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
