"""Routes open to their roles; a refusal is recorded, or refused all the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from structlog.testing import capture_logs

from diwan.domain.actor import Actor, Role
from diwan.domain.errors import DiwanError, Unavailable
from diwan.web.auth import TokenVerifier, require
from tests.web.auth.tokens import Issuer, token


class Recorded:
    def __init__(self) -> None:
        self.refusals: list[tuple[str | None, str, str]] = []
        self.broken = False

    async def __call__(self, actor: Actor | None, code: str, route: str) -> None:
        if self.broken:
            raise Unavailable("database.away", "away")
        self.refusals.append((actor and actor.subject, code, route))


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
async def http(verifier: TokenVerifier, recorded: Recorded) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.verifier = verifier
    app.state.refusals = recorded

    @app.get("/cases/{case}")
    async def case(case: str, actor: Annotated[Actor, Depends(require(Role.CLERK, Role.SUPERVISOR))]) -> str:
        return actor.subject

    @app.get("/me")
    async def me(actor: Annotated[Actor, Depends(require())]) -> str:
        return actor.subject

    @app.exception_handler(DiwanError)
    async def problem(_: object, error: DiwanError) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse({"code": error.code}, error.status)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://diwan") as client:
        yield client


async def test_a_role_opens_its_routes(http: httpx.AsyncClient, recorded: Recorded) -> None:
    for roles, path in ((["clerk"], "/cases/7"), (["supervisor", "x"], "/cases/7"), ([], "/me")):
        answer = await http.get(path, headers={"authorization": f"bearer {token(roles=roles)}"})
        assert (answer.status_code, answer.json()) == (200, "u-7")
    assert recorded.refusals == []


async def test_a_missing_role_is_refused_and_recorded(http: httpx.AsyncClient, recorded: Recorded) -> None:
    answer = await http.get("/cases/7", headers={"authorization": f"Bearer {token(roles=['auditor'])}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "auth.role_missing")
    assert recorded.refusals == [("u-7", "auth.role_missing", "GET /cases/{case}")]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer  ")],
        [("authorization", "Basic dTpw")],
        [("authorization", "Bearer a"), ("authorization", "Bearer b")],
    ],
)
async def test_a_request_without_one_token_is_refused_and_recorded(
    http: httpx.AsyncClient, recorded: Recorded, headers: list[tuple[str, str]]
) -> None:
    answer = await http.get("/cases/7", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_missing")
    assert recorded.refusals == [(None, "auth.token_missing", "GET /cases/{case}")]


async def test_a_bad_token_is_recorded_without_an_actor(http: httpx.AsyncClient, recorded: Recorded) -> None:
    bad = token(iss="https://other.example")
    with capture_logs() as logs:
        answer = await http.get("/cases/7", headers={"authorization": f"Bearer {bad}"})
    assert answer.status_code == 401
    assert recorded.refusals == [(None, "auth.issuer_wrong", "GET /cases/{case}")]
    assert [line["event"] for line in logs] == ["auth.refused"]
    assert bad not in json.dumps(logs)


async def test_an_issuer_that_is_away_is_no_refusal(
    http: httpx.AsyncClient, recorded: Recorded, issuer: Issuer
) -> None:
    issuer.away = True
    answer = await http.get("/me", headers={"authorization": f"Bearer {token()}"})
    assert answer.status_code == 503
    assert recorded.refusals == []


async def test_what_cannot_be_recorded_is_refused_all_the_same(http: httpx.AsyncClient, recorded: Recorded) -> None:
    recorded.broken = True
    with capture_logs() as logs:
        answer = await http.get("/me")
    assert answer.status_code == 401
    assert "auth.refusal.unrecorded" in [line["event"] for line in logs]
