"""Tokens a second of a real vLLM: through Diwan, and by vLLM's own benchmark on the same prompts and lengths.

Runs of the agent are carried as everywhere; then the server is started anew, so that nothing is in its cache, and
vLLM's benchmark sends the prompts that were on record, in the order in which they were sent, as many at once as the
host took, each for as many tokens as it was answered with. Answers are not held to a schema there.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from agents.examiner import EXAMINER
from agents.usage import usage_of
from bench.cases import TENANT, Size
from bench.pool.fleet import PATIENCE_S, Ground
from bench.pool.saturation import opened
from bench.processes import Process, bound
from bench.rounds import ring, started
from bench.say import say
from bench.service import NAMESPACE, ROOT
from diwan.domain.errors import Final
from diwan.domain.text import Language
from diwan.embedded import ports, probes
from diwan.pool import digests
from diwan.pool.registry import Model, Registry
from diwan.pool.vllm import environment_of
from diwan.store import calls
from diwan.temporal import connect

MODEL = "measured"
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Engine:
    """`python` has vLLM; `arguments` are more of its options (devices, tool parser, length); `room`: calls at once."""

    python: Path
    weights: Path
    arguments: tuple[str, ...]
    room: int
    context_length: int

    @property
    def model(self) -> Model:
        return Model(
            name=MODEL,
            family="as given",
            weights_digest=digests.weights_digest(self.weights),
            engine="vllm",
            licence="as given",
            languages=frozenset(Language),
            context_length=self.context_length,
        )


@dataclass(frozen=True)
class Throughput:
    """Of `calls`, over `seconds` from the first one's start to the last one's end."""

    calls: int
    prompt_tokens: int
    answer_tokens: int
    seconds: float

    @property
    def answer_tokens_a_second(self) -> float:
        return self.answer_tokens / self.seconds


@dataclass(frozen=True)
class Compared:
    """`cached`: prompt tokens of ours that the engine's cache had."""

    runs: int
    version: str
    ours: Throughput
    cached: int
    vllm: Throughput


async def compared(ground: Ground, engine: Engine, size: Size, *, runs: int) -> Compared:
    """Needs a ground whose service is of `MODEL`."""
    registry = Registry(models=(engine.model,), capabilities={EXAMINER.capability: (MODEL,)})
    (ground.folder / "registry.json").write_text(registry.model_dump_json(), encoding="utf-8")
    ids = await opened(ground.opener, runs, size)
    async with _serving(ground, engine) as url:
        await _carried(ground, engine, url, ids)
        version = await _asked(url, "GET", "/version")
        recorded = await _recorded(ground, ids)
        prompts = [await _text(url, each["prompt"]) for each in recorded]
    ours = _through(ground, ids)
    file = ground.folder / "prompts.jsonl"
    lines = [
        {"prompt": prompt, "output_tokens": each["answer"]} for prompt, each in zip(prompts, recorded, strict=True)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    async with _serving(ground, engine) as url:
        theirs = await _by_itself(ground, engine, url, file, len(lines))
    cached = sum(each["cached"] for each in recorded)
    found = Compared(runs, str(version["version"]), ours, cached, theirs)
    say(f"{found}")
    return found


@asynccontextmanager
async def _serving(ground: Ground, engine: Engine) -> AsyncGenerator[str]:
    """The server, started anew; its address."""
    port = ports.free_port()
    arguments = (
        *("-m", "vllm.entrypoints.openai.api_server", "--model", str(engine.weights), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(engine.context_length)),
        *("--generation-config", "vllm", "--enable-prompt-tokens-details", "--enable-auto-tool-choice"),
        *("--structured-outputs-config.backend", "xgrammar"),
        *("--structured-outputs-config.disable_any_whitespace", "true"),
        *engine.arguments,
    )
    environment = {**environment_of(os.environ, ""), "VLLM_CACHE_ROOT": str(ground.folder / "vllm")}
    del environment["VLLM_API_KEY"]  # nothing but this bench and its host asks it
    server = Process(
        "vllm",
        bound(engine.python, *arguments),
        ground.folder / "vllm.log",
        environment,
        probes.http(port, "/health"),
    )
    async with AsyncExitStack() as stack:
        await started(stack, server)
        yield f"http://127.0.0.1:{port}"


async def _carried(ground: Ground, engine: Engine, url: str, ids: list[str]) -> None:
    """All of these cases' agent runs, begun at once, until each has ended: with an answer, or for a person."""
    async with AsyncExitStack() as stack:
        await started(stack, ground.service.worker())
        host = ground.service.pool_host("host", int(url.rpartition(":")[2]), engine.room, health=ports.free_port())
        await started(stack, host)
        client = await connect(ground.temporal, NAMESPACE)
        await asyncio.gather(*(ring(client, case) for case in ids))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if ground.watching.all_over(ids):
                    return
                await asyncio.sleep(_LOOK_EVERY_S)


def _through(ground: Ground, ids: list[str]) -> Throughput:
    number, prompt, answer, seconds = ground.watching.row(
        "select count(*), sum((usage->>'prompt_tokens')::int), sum((usage->>'completion_tokens')::int),"
        " extract(epoch from max(ended_at) - min(started_at)) from model_call"
        " where case_id = any(%s) and status = 'answered'",
        [ids],
    )
    return Throughput(int(str(number)), int(str(prompt)), int(str(answer)), float(str(seconds)))


async def _recorded(ground: Ground, ids: list[str]) -> list[dict[str, Any]]:
    """Prompts of the answered calls as token ids, in the order in which they were sent; lengths of their answers."""
    rows = ground.watching.rows(
        "select case_id, run_id, call, attempt, response_sealed from model_call"
        " where case_id = any(%s) and status = 'answered' order by started_at",
        [ids],
    )
    found: list[dict[str, Any]] = []
    for case, run, call, attempt, sealed in rows:
        cipher = await ground.opener.keyring.cipher(TENANT, str(case))
        said = json.loads(calls.opened_response(cipher, str(run), int(call), int(attempt), bytes(sealed)))
        of = usage_of(said)
        found.append({"prompt": said["prompt_token_ids"], "answer": of.completion_tokens, "cached": of.cached_tokens})
    if not found:
        raise Final("bench.no_answer", "No call was answered: there is nothing to compare.", "Look at vllm.log.")
    return found


async def _text(url: str, tokens: list[int]) -> str:
    return str((await _asked(url, "POST", "/detokenize", {"model": MODEL, "tokens": tokens}))["prompt"])


async def _asked(url: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.request(method, url + path, json=body) as answer:
        answer.raise_for_status()
        return await answer.json()


async def _by_itself(ground: Ground, engine: Engine, url: str, prompts: Path, number: int) -> Throughput:
    result = ground.folder / "vllm-bench.json"
    arguments = (
        *(str(ROOT / "tools" / "vllm_bench.py"), "--backend", "openai", "--base-url", url),
        *("--model", MODEL, "--tokenizer", str(engine.weights), "--dataset-name", "custom"),
        *("--dataset-path", str(prompts), "--num-prompts", str(number), "--custom-output-len", "-1"),
        *("--disable-shuffle", "--skip-chat-template", "--ignore-eos", "--max-concurrency", str(engine.room)),
        *("--save-result", "--result-dir", str(result.parent), "--result-filename", result.name),
    )
    say("vLLM's own benchmark")
    with (ground.folder / "vllm-bench.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *bound(engine.python, *arguments), stdout=log, stderr=log, env=environment_of(os.environ, "")
        )
        ended = await process.wait()
    if ended:
        told = (ground.folder / "vllm-bench.log").read_text(errors="replace")[-2000:]
        raise Final("bench.vllm_failed", "vLLM's benchmark failed.", told)
    said = json.loads(result.read_text(encoding="utf-8"))
    return Throughput(
        int(said["completed"]), int(said["total_input_tokens"]), int(said["total_output_tokens"]), said["duration"]
    )
