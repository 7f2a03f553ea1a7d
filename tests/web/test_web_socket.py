"""Over a real socket: who sends too much, too slowly or not at all is answered and let go, and others are served."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from tests.web.test_web_guard import toy


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The toy service on a free loopback port: bodies up to 500 bytes, 0.05 s of silence, 0.2 s in all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(toy(), lifespan="off", log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await serving


async def exchange(port: int, sent: bytes) -> bytes:
    """Sends and reads until the service closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


HEAD = b"POST /body HTTP/1.1\r\nHost: diwan\r\nContent-Type: application/json\r\n"


async def test_a_length_beyond_the_limit_is_answered_before_the_body(port: int):
    answer = await exchange(port, HEAD + b"Content-Length: 1000000000\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"http.body_too_large" in answer


async def test_an_endless_body_is_cut_off(port: int):
    chunk = b"64\r\n" + b"x" * 100 + b"\r\n"
    answer = await exchange(port, HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunk * 10)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_with_two_lengths_is_refused(port: int):
    """By the announced one the budget would be held, by the other the body would be read."""
    both = b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = await exchange(port, HEAD + both + b"2\r\n{}\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_silent_sender_is_let_go_while_others_are_served(port: int):
    silent = asyncio.create_task(exchange(port, HEAD + b"Content-Length: 100\r\nConnection: close\r\n\r\nxx"))
    served = await exchange(port, HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
    assert served.startswith(b"HTTP/1.1 200 ")
    assert (await silent).startswith(b"HTTP/1.1 408 ")
