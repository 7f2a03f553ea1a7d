"""An engine of zero latency: not a model, a script behind vLLM's protocol that always does the same, at once.

    python -m bench.engine --port 8000 --model NAME --steps 20

It asks for a page of the first document so many times, then says that it has read enough, then gives an empty but valid
examination. A stand-in for a GPU host, so that what is measured is everything else. `POST /steps` changes the number.
Hand-made HTTP/1.1 on asyncio, keep-alive only: a web framework would cost more than what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import orjson

PAGES = 5  # every dossier's first document has at least so many
TOOL = "documents_read_page"
_EXAMINATION = orjson.dumps({"documents": [], "claims": [], "concerns": [], "summary": "Nothing was read."}).decode()
_NOTHING = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class Engine:
    """`steps`: how often a run asks for a tool before it answers. It says that it serves `model`."""

    def __init__(self, steps: int, model: str = "") -> None:
        self.steps = steps
        self._model = model

    def answer(self, path: str, body: bytes) -> bytes:
        if path == "/v1/chat/completions":
            return orjson.dumps(self.completion(orjson.loads(body)))
        if path == "/steps":
            self.steps = int(body)
        if path == "/v1/models":
            return orjson.dumps({"object": "list", "data": [{"id": self._model, "object": "model"}]})
        if path == "/version":
            return b'{"version": "bench of zero latency"}'
        return b"{}"

    def completion(self, request: dict[str, Any]) -> dict[str, object]:
        """What it says to a request, as far as it is on with its run."""
        messages: list[dict[str, Any]] = request["messages"]
        done = sum(message["role"] == "tool" for message in messages)
        if "response_format" in request:
            return _completion(request, {"role": "assistant", "content": _EXAMINATION}, "stop")
        if done >= self.steps:
            return _completion(request, {"role": "assistant", "content": "I have read enough."}, "stop")
        call = {
            "id": f"call-{done}",
            "type": "function",
            "function": {"name": TOOL, "arguments": f'{{"document": "d1", "page": {done % PAGES + 1}}}'},
        }
        return _completion(request, {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")


def _completion(request: dict[str, Any], message: dict[str, object], finish: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": request["model"],
        "system_fingerprint": "zero-latency script",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _NOTHING,
    }


async def serve(engine: Engine, port: int) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                body = await reader.readexactly(_length(head))
                said = engine.answer(path, body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(said)
                    + said
                )
                await writer.drain()
                if b"connection: close" in head.lower():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", port, limit=1 << 16)
    async with server:
        await server.serve_forever()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    asyncio.run(serve(Engine(given.steps, given.model), given.port))
