"""Whatever goes wrong leaves as a problem that says what to do and repeats nothing, with the security headers on."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from itertools import repeat
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from diwan.domain.errors import (
    Conflict,
    DiwanError,
    NeedsPerson,
    NotFound,
    Refused,
    Tampered,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from diwan.web.api.bodies import BodyBudget, read_body, read_model
from diwan.web.guard import SECURITY_HEADERS, Guard
from diwan.web.limits import Limits
from diwan.web.problems import problem_handler

SECRET = "Zoubida-4711"
LIMITS = Limits(json_bytes=1000, batch_bytes=1000, multipart_bytes=1000, idle_seconds=0.05, body_seconds=0.2)


class Note(BaseModel):
    text: str


def toy(limits: Limits = LIMITS) -> FastAPI:
    app = FastAPI(openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.get("/raise/{name}")
    async def raising(name: str, number: int = 0) -> None:  # pyright: ignore[reportUnusedFunction]
        raise ERRORS[name]

    @app.post("/note")
    async def note(request: Request) -> dict[str, int]:  # pyright: ignore[reportUnusedFunction]
        return {"length": len((await read_model(request, Note, limits)).text)}

    @app.post("/body")
    async def body(request: Request) -> dict[str, int]:  # pyright: ignore[reportUnusedFunction]
        return {"length": len(await read_body(request, limits, 500))}

    handler = problem_handler()
    for kind in (DiwanError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handler)
    app.add_middleware(Guard, handler=handler, limits=limits)
    return app


ERRORS: dict[str, Exception] = {
    "conflict": Conflict("thing.changed", "It has changed.", "Read it again."),
    "refused": Refused("thing.not_yours", "You may not.", "Ask."),
    "anonymous": Unauthenticated("auth.none", "No token.", "Get one."),
    "missing": NotFound("thing.unknown", "There is none.", "Look."),
    "busy": Unavailable("thing.busy", "Not now.", "Later."),
    "large": TooLarge("thing.large", "Too large.", "Split."),
    "tampered": Tampered("thing.tampered", f"Bytes of {SECRET} differ."),
    "person": NeedsPerson("thing.person", f"{SECRET} must look."),
    "bug": ValueError(SECRET),
    "chained": RuntimeError(SECRET, {"name": SECRET}),
}


async def test_a_length_beside_chunks_is_refused_before_the_body_is_read(client: httpx.AsyncClient):
    headers = {"Content-Length": "2", "Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    answer = await client.post("/body", content=b"x" * 400, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "http.body_length_twice")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(toy())
    async with httpx.AsyncClient(transport=transport, base_url="http://diwan") as made:
        yield made


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("conflict", 409, "thing.changed"),
        ("refused", 403, "thing.not_yours"),
        ("anonymous", 401, "auth.none"),
        ("missing", 404, "thing.unknown"),
        ("busy", 503, "thing.busy"),
        ("large", 413, "thing.large"),
        ("tampered", 500, "thing.tampered"),
        ("person", 500, "thing.person"),
        ("bug", 500, "http.internal"),
        ("chained", 500, "http.internal"),
    ],
)
async def test_each_error_is_a_problem(client: httpx.AsyncClient, name: str, status: int, code: str):
    with structlog.testing.capture_logs() as logs:
        answer = await client.get(f"/raise/{name}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:diwan:problem:{code}"
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["remedy"]
    assert problem["detail"]
    assert SECRET not in answer.text
    assert SECRET not in repr(logs)


async def test_an_error_tells_a_caller_how_to_go_on(client: httpx.AsyncClient):
    assert (await client.get("/raise/anonymous")).headers["www-authenticate"].startswith("Bearer ")
    assert int((await client.get("/raise/busy")).headers["retry-after"]) > 0
    assert (await client.get("/raise/busy")).json()["disposition"] == "retry"


async def test_a_bug_is_logged_by_its_place(client: httpx.AsyncClient):
    with structlog.testing.capture_logs() as logs:
        await client.get("/raise/bug")
    (failed,) = [line for line in logs if line["event"] == "http.request_failed"]
    assert failed["error"] == "ValueError"
    assert "test_web_guard.py:" in failed["where"]


async def test_an_unknown_address_and_a_wrong_method_are_problems(client: httpx.AsyncClient):
    unknown = await client.get(f"/{SECRET}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "http.no_such_address")
    wrong = await client.delete("/note")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "http.method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    assert SECRET not in unknown.text


async def test_a_parameter_of_the_wrong_type_is_named_not_repeated(client: httpx.AsyncClient):
    answer = await client.get("/raise/bug", params={"number": SECRET})
    assert (answer.status_code, answer.json()["code"]) == (422, "http.parameter_invalid")
    assert "number" in answer.json()["errors"][0]["detail"]
    assert SECRET not in answer.text


@pytest.mark.parametrize("path", ["/raise/%00", "/note?x=%00", "/raise/a%1Bb", "/note?a%7Fb=1"])
async def test_control_characters_in_an_address_are_refused(client: httpx.AsyncClient, path: str):
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "http.address_unprintable")


@pytest.mark.parametrize("path", ["/raise/bug", "/raise/conflict", "/nowhere", "/note"])
async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient, path: str):
    answer = await client.get(path)
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_the_access_log_has_the_route_and_no_address(client: httpx.AsyncClient):
    with structlog.testing.capture_logs() as logs:
        await client.get(f"/raise/conflict?name={SECRET}")
        await client.get(f"/{SECRET}")
        await client.request(SECRET, "/note")
    lines = [line for line in logs if line["event"] == "http.answered"]
    assert [line["route"] for line in lines] == ["/raise/{name}", "", "/note"]
    assert lines[2]["method"] == "other"
    assert SECRET not in repr(logs)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"text": "abc"}', {}, 415, "http.media_type"),
        (b'{"text": "abc"}', {"Content-Type": "text/plain"}, 415, "http.media_type"),
        (
            b'{"text": "abc"}',
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            415,
            "http.content_encoding",
        ),
        (b'{"text": "abc"}', {"Content-Type": "application/json; charset=utf-16"}, 415, "http.charset"),
        (b'{"text": "abc"', {"Content-Type": "application/json"}, 400, "json.malformed"),
        (b'{"text": 7}', {"Content-Type": "application/json"}, 422, "http.body_invalid"),
        (b"", {"Content-Type": "application/json"}, 422, "http.body_invalid"),
        (b'{"text": "' + b"x" * 1000 + b'"}', {"Content-Type": "application/json"}, 413, "http.body_too_large"),
        (b"x", {"Content-Length": "10" * 20, "Content-Type": "application/json"}, 413, "http.body_too_large"),
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, code: str
):
    answer = await client.post("/note", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_body_is_read(client: httpx.AsyncClient):
    answer = await client.post("/note", json={"text": "abc"})
    assert (answer.status_code, answer.json()) == (200, {"length": 3})


async def test_a_body_without_a_length_is_cut_off_at_its_limit(client: httpx.AsyncClient):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b"x" * 100

    answer = await client.post("/body", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "http.body_too_large")
    assert sent <= 700


async def drive(limits: Limits, messages: Iterator[dict[str, Any]], pause: float = 0) -> tuple[int, dict[str, Any]]:
    """Runs the toy app on a body that arrives message by message; after the last one there is silence for ever."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/body",
        "raw_path": b"/body",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("diwan", 80),
        "client": None,
        "root_path": "",
    }
    async with asyncio.timeout(10):
        await toy(limits)(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


CHUNK = {"type": "http.request", "body": b"x", "more_body": True}


async def test_a_sender_that_falls_silent_is_not_waited_for():
    impatient = Limits(idle_seconds=0.05, body_seconds=1000)
    status, problem = await drive(impatient, iter([CHUNK, CHUNK]))
    assert (status, problem["code"]) == (408, "http.body_too_slow")


async def test_a_sender_that_drips_is_not_waited_for():
    impatient = Limits(idle_seconds=1000, body_seconds=0.2)
    status, problem = await drive(impatient, repeat(CHUNK | {"body": b""}), pause=0.01)
    assert (status, problem["code"]) == (408, "http.body_too_slow")


async def test_a_sender_that_hangs_up_is_no_failure_of_ours():
    status, problem = await drive(LIMITS, iter([CHUNK, {"type": "http.disconnect"}]))
    assert (status, problem["code"]) == (422, "http.body_incomplete")


def test_bodies_share_one_budget_of_memory():
    budget = BodyBudget(100)
    with budget.hold(60):
        with pytest.raises(DiwanError) as caught, budget.hold(60):
            pass
        assert isinstance(caught.value, Unavailable)
        with budget.hold(40):
            pass
    with budget.hold(100):
        pass
