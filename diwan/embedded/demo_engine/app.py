"""vLLM's OpenAI protocol as far as Diwan uses it, answered by rules that say in every answer that they are rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from diwan.embedded.demo_engine.failures import Failure, Mode, junk_text
from diwan.embedded.demo_engine.prefix_cache import PrefixCache, prompt_of, tokens_of
from diwan.embedded.demo_engine.rules import Reply, reply, wanted_schema
from diwan.embedded.demo_engine.task import Task, read_task
from diwan.tracing.context import span_id_of, trace_id_of, usable_traceparent

log = structlog.get_logger()

MODEL = "demo-rules"
VERSION = "demo-rules 1 (fixed rules, not a language model)"
FINGERPRINT = "demo-rules-1-not-a-language-model"
CONTEXT_LENGTH = 262_144
_HEADERS = {"x-diwan-demo": "fixed rules, not a language model"}
_MAX_REQUEST = 16 * 1024 * 1024


@dataclass
class _Engine:
    failure: Failure | None
    cache: PrefixCache = field(default_factory=PrefixCache)
    running: int = 0
    served: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def create_app(failure: Failure | None = None) -> Starlette:
    """The engine as an ASGI application. `failure` makes it answer badly, for tests."""
    engine = _Engine(failure)
    app = Starlette(
        routes=[
            Route("/health", _health),
            Route("/version", _version),
            Route("/v1/models", _models),
            Route("/metrics", _metrics),
            Route("/v1/chat/completions", _chat, methods=["POST"]),
        ]
    )
    app.state.engine = engine
    return app


async def _health(_: Request) -> Response:
    return Response(headers=_HEADERS)


async def _version(_: Request) -> Response:
    return JSONResponse({"version": VERSION}, headers=_HEADERS)


async def _models(_: Request) -> Response:
    card = {
        "id": MODEL,
        "object": "model",
        "created": 0,
        "owned_by": "diwan: fixed rules, not a language model",
        "root": MODEL,
        "max_model_len": CONTEXT_LENGTH,
    }
    return JSONResponse({"object": "list", "data": [card]}, headers=_HEADERS)


async def _metrics(request: Request) -> Response:
    engine = cast("_Engine", request.app.state.engine)
    numbers = {
        "num_requests_running": engine.running,
        "num_requests_waiting": 0,
        "kv_cache_usage_perc": 0,
        "prefix_cache_queries_total": engine.cache.queries,
        "prefix_cache_hits_total": engine.cache.hits,
        "prompt_tokens_total": engine.prompt_tokens,
        "generation_tokens_total": engine.completion_tokens,
        "request_success_total": engine.served,
    }
    lines = [
        f"# TYPE vllm:{name} {'counter' if name.endswith('_total') else 'gauge'}\n"
        f'vllm:{name}{{model_name="{MODEL}"}} {number}\n'
        for name, number in numbers.items()
    ]
    return PlainTextResponse("".join(lines), headers=_HEADERS)


async def _chat(request: Request) -> Response:
    engine = cast("_Engine", request.app.state.engine)
    passed_on = usable_traceparent(request.headers.get("traceparent", ""))
    log.info("engine.asked", trace_id=trace_id_of(passed_on), span_id=span_id_of(passed_on))
    body = await _body(request)
    problem = _problem(body)
    if problem is not None:
        return problem
    asked = cast("dict[str, Any]", body)
    failure = engine.failure if engine.failure and engine.failure.due() else None
    if failure and (failed := await _failed(failure)) is not None:
        return failed
    engine.running += 1
    try:
        # In a thread: pattern matching over a long dossier would hold up /health.
        answer = await asyncio.to_thread(_answer, engine, asked, failure)
    finally:
        engine.running -= 1
    engine.served += 1
    return JSONResponse(answer, headers=_HEADERS)


async def _body(request: Request) -> object:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_REQUEST:
            return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _problem(body: object) -> Response | None:
    """vLLM's answers to requests it cannot take."""
    if not isinstance(body, dict):
        return _error(400, "BadRequestError", "The request is not a JSON object.")
    request = cast("dict[str, Any]", body)
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        return _error(400, "BadRequestError", "messages: a list with at least one message is required.")
    if not all(isinstance(message, dict) for message in cast("list[object]", messages)):
        return _error(400, "BadRequestError", "messages: each message is an object.")
    if request.get("model") != MODEL:
        return _error(404, "NotFoundError", f"The model does not exist. This engine serves {MODEL}.")
    if request.get("stream"):
        return _error(400, "BadRequestError", "stream: the demo engine does not stream.")
    if tokens_of(prompt_of(request)) > CONTEXT_LENGTH:
        return _error(400, "BadRequestError", f"This model's maximum context length is {CONTEXT_LENGTH} tokens.")
    return None


def _error(status: int, type_: str, message: str) -> Response:
    error = {"message": message, "type": type_, "param": None, "code": status}
    return JSONResponse({"error": error}, status_code=status, headers=_HEADERS)


async def _failed(failure: Failure) -> Response | None:
    """The failures that need no answer."""
    match failure.mode:
        case Mode.BUSY:
            return _error(503, "ServiceUnavailableError", "The request queue is full.")
        case Mode.CRASH:
            return _error(500, "InternalServerError", "The engine died.")
        case Mode.NOT_JSON:
            return PlainTextResponse("upstream: <html>", headers=_HEADERS)
        case Mode.ENDLESS:
            return StreamingResponse(_endless(), media_type="application/json", headers=_HEADERS)
        case Mode.SLOW:
            await asyncio.sleep(failure.seconds)
            return None
        case _:
            return None


async def _endless() -> AsyncIterator[bytes]:
    yield b'{"choices": [{"message": {"content": "'
    while True:
        yield b"a" * 65_536
        await asyncio.sleep(0)


def _answer(engine: _Engine, request: dict[str, Any], failure: Failure | None) -> dict[str, Any]:
    task = read_task(request["messages"])
    choice = _choice(request, task, failure)
    prompt = prompt_of(request)
    usage = {"prompt_tokens": tokens_of(prompt), "completion_tokens": tokens_of(json.dumps(choice["message"]))}
    cached = engine.cache.cached_tokens(prompt, str(request.get("cache_salt") or ""))
    engine.prompt_tokens += usage["prompt_tokens"]
    engine.completion_tokens += usage["completion_tokens"]
    return {
        "id": f"chatcmpl-{request.get('request_id') or 'demo'}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "system_fingerprint": FINGERPRINT,
        "choices": [choice],
        "usage": {
            **usage,
            "total_tokens": sum(usage.values()),
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


def _choice(request: dict[str, Any], task: Task, failure: Failure | None) -> dict[str, Any]:
    answer = reply(request, task, failure)
    finish = "tool_calls" if answer.calls else "stop"
    if failure:
        final = wanted_schema(request) is not None
        match failure.mode:
            case Mode.JUNK:
                answer, finish = Reply(text=junk_text(task, final=final)), "stop"
            case Mode.TRUNCATE:
                answer, finish = Reply(text=answer.text[: len(answer.text) // 2] or "{"), "length"
            case Mode.REFUSE:
                answer, finish = Reply(refusal="demo-rules was told to refuse."), "stop"
            case Mode.EMPTY:
                answer, finish = Reply(), "stop"
            case _:
                pass
    calls = [
        {
            "id": f"chatcmpl-tool-{position}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
        for position, (name, arguments) in enumerate(answer.calls)
    ]
    message = {
        "role": "assistant",
        "content": answer.text or None,
        "refusal": answer.refusal or None,
        "reasoning_content": None,
        "tool_calls": calls or None,
    }
    return {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
