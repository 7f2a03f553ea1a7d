"""Engines that keep a pace, many in one process, each on its own port behind vLLM's protocol. Stand-ins: no model.

    python -m bench.pool.engine --ports 9001 9002 --pace '{"slots": 4}' --steps 5 --answer 500

Each asks for pages of the first document and then gives an empty examination, as `bench.engine` does, at the pace of
`bench.pool.pace`. `GET /pace` on any of the ports tells of all engines what they did so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import orjson
from aiohttp import web

from bench.engine import Engine
from bench.pool.pace import Full, Pace, PacedEngine
from diwan.embedded.demo_engine.prefix_cache import prompt_of, tokens_of

VERSION = "paced stand-in, no model"
CONTEXT_LENGTH = 131_072


class Host:
    """One engine's HTTP side."""

    def __init__(self, engine: PacedEngine, script: Engine, model: str, answer: int) -> None:
        self.engine = engine
        self._script = script
        self._model = model
        self._answer = answer

    def application(self, hosts: list[Host]) -> web.Application:
        app = web.Application(client_max_size=1 << 26)

        async def pace(_: web.Request) -> web.Response:
            return web.json_response([host.told() for host in hosts])

        app.router.add_get("/pace", pace)
        app.router.add_get("/health", _health)
        app.router.add_get("/version", _version)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    def told(self) -> dict[str, float]:
        engine = self.engine
        return {
            "busy_s": engine.busy_s,
            "running": engine.running,
            "waiting": engine.waiting,
            "served": engine.served,
            "refused": engine.refused,
            "queries": engine.cache.queries,
            "hits": engine.cache.hits,
        }

    async def _models(self, _: web.Request) -> web.Response:
        card = {"id": self._model, "object": "model", "max_model_len": CONTEXT_LENGTH, "owned_by": VERSION}
        return web.json_response({"object": "list", "data": [card]})

    async def _metrics(self, _: web.Request) -> web.Response:
        told = self.told()
        names = {
            "vllm:num_requests_running": told["running"],
            "vllm:num_requests_waiting": told["waiting"],
            "vllm:kv_cache_usage_perc": told["running"] / self.engine.pace.slots / 2,
            "vllm:prefix_cache_queries_total": told["queries"],
            "vllm:prefix_cache_hits_total": told["hits"],
        }
        lines = [f'{name}{{model_name="{self._model}"}} {value}' for name, value in names.items()]
        return web.Response(text="\n".join(lines) + "\n")

    async def _chat(self, request: web.Request) -> web.Response:
        asked: dict[str, Any] = orjson.loads(await request.read())
        prompt = prompt_of(asked)
        # A probe asks for a token; our agents for what their budget gives, of which a model uses less.
        answer = min(self._answer, int(asked.get("max_tokens", self._answer)))
        try:
            cached = await self.engine.call(prompt, str(asked.get("cache_salt", "")), answer)
        except Full:
            return web.json_response({"error": {"message": "too many requests in queue"}}, status=503)
        said = self._script.completion(asked)
        said["usage"] = {
            "prompt_tokens": (of_prompt := tokens_of(prompt)),
            "completion_tokens": answer,
            "total_tokens": of_prompt + answer,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        return web.Response(body=orjson.dumps(said), content_type="application/json")


async def _health(_: web.Request) -> web.Response:
    return web.Response()


async def _version(_: web.Request) -> web.Response:
    return web.json_response({"version": VERSION})


async def serve(ports: list[int], pace: Pace, *, model: str, steps: int, answer: int) -> None:
    script = Engine(steps)
    hosts = [Host(PacedEngine(pace), script, model, answer) for _ in ports]
    for host, port in zip(hosts, ports, strict=True):
        runner = web.AppRunner(host.application(hosts), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ports", type=int, nargs="+", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pace", type=json.loads, default={}, help="fields of Pace that are not its own, as JSON")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--answer", type=int, default=500, help="tokens of every answer")
    given = parser.parse_args()
    asyncio.run(serve(given.ports, Pace(**given.pace), model=given.model, steps=given.steps, answer=given.answer))
