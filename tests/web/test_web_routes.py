"""The shape of the service: every route asks who calls, is described, answers as described and has its headers."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema import Draft202012Validator
from starlette.routing import BaseRoute

import diwan
from diwan.domain.actor import Role
from diwan.domain.errors import DiwanError, Unavailable
from diwan.web.api.callers import Caller
from diwan.web.guard import SECURITY_HEADERS
from diwan.web.openapi import OPEN_PATHS
from tests.support.factories import CLERK, person, sender
from tests.web.conftest import Service

# Which roles may call what; a new route is added here on purpose.
ANYONE = set(Role)
STAFF = {Role.CLERK, Role.SUPERVISOR, Role.AUTHORITY, Role.AUDITOR}
ROLES: dict[str, set[Role]] = {
    "POST /v1/events": {Role.INTAKE},
    "POST /v1/documents": {Role.INTAKE},
    "GET /v1/cases": STAFF | {Role.INTAKE},
    "GET /v1/cases/{case}": STAFF | {Role.INTAKE},
    "GET /v1/cases/{case}/events": STAFF | {Role.INTAKE},
    "GET /v1/cases/{case}/story": STAFF,
    "GET /v1/cases/{case}/trace": STAFF,
    "GET /v1/cases/{case}/past": STAFF,
    "POST /v1/cases/{case}/explanations": STAFF - {Role.AUDITOR},
    "GET /v1/cases/{case}/calls": {Role.AUDITOR, Role.SUPERVISOR},
    "POST /v1/cases/{case}/calls/{number}/reruns": {Role.AUDITOR, Role.SUPERVISOR},
    "GET /v1/cases/{case}/reruns/{rerun}": {Role.AUDITOR, Role.SUPERVISOR},
    "POST /v1/cases/{case}/bundles": {Role.AUDITOR},
    "GET /v1/entries": {Role.AUDITOR},
    "POST /v1/entries/search": {Role.AUDITOR},
    "GET /v1/cases/{case}/documents": STAFF | {Role.INTAKE},
    "GET /v1/cases/{case}/documents/{document}": STAFF | {Role.INTAKE},
    "GET /v1/cases/{case}/letters": STAFF | {Role.INTAKE},
    "GET /v1/cases/{case}/letters/{letter:path}": STAFF | {Role.INTAKE},
    "GET /v1/cases/{case}/receipt": STAFF | {Role.INTAKE},
    "GET /v1/tasks": STAFF,
    "GET /v1/tasks/{task}": STAFF,
    "GET /v1/tasks/{task}/documents/{document}": STAFF,
    "POST /v1/tasks/{task}/{act}": STAFF - {Role.AUDITOR},
    "GET /v1/procedures": ANYONE,
    "GET /v1/procedures/{name}": ANYONE,
    "GET /v1/procedures/{name}/schema": ANYONE,
    "POST /v1/procedures": {Role.ANALYST},
    "GET /v1/pool": {Role.OPERATOR},
    "GET /ledger/tile/entries/{path:path}": {Role.AUDITOR},
    "GET /ledger/{shard}/tile/entries/{path:path}": {Role.AUDITOR},
    "GET /v1/erasures": {Role.SUPERVISOR, Role.AUTHORITY, Role.AUDITOR},
    "GET /v1/erasures/without-case": {Role.SUPERVISOR, Role.AUTHORITY, Role.AUDITOR},
    "POST /v1/erasures/{erasure}/approval": {Role.SUPERVISOR, Role.AUTHORITY},
    "POST /v1/erasures/{erasure}/refusal": {Role.SUPERVISOR, Role.AUTHORITY},
    "POST /v1/cases/{case}/erasures": {Role.SUPERVISOR, Role.AUTHORITY},
    "POST /v1/cases/{case}/holds": {Role.AUTHORITY},
    "POST /v1/cases/{case}/holds/{hold}/lifting": {Role.AUTHORITY},
    "GET /v1/clock": STAFF | {Role.OPERATOR},
    "POST /v1/clock/confirmation": {Role.SUPERVISOR, Role.OPERATOR},
}


def routes(service: Service) -> Iterator[tuple[str, APIRoute]]:
    for route in all_routes(service):
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                yield f"{method} {route.path}", route


def all_routes(service: Service) -> list[BaseRoute]:
    return [context.original_route for context in iter_route_contexts(service.app.routes)]


def roles_of(route: APIRoute) -> set[Role]:
    return {
        role for each in route.dependant.dependencies if isinstance(each.call, Caller) for role in each.call.gate.roles
    }


async def test_every_route_demands_its_roles(service: Service):
    found = {name: roles_of(route) for name, route in routes(service) if route.path not in OPEN_PATHS}
    assert found == ROLES


async def test_nothing_but_health_description_and_hashes_is_open(service: Service):
    open_ = {getattr(route, "path", "") for route in all_routes(service) if not isinstance(route, APIRoute)}
    open_ |= {route.path for _, route in routes(service) if not roles_of(route)}
    assert open_ == OPEN_PATHS


async def test_no_route_lets_the_framework_read_a_body(service: Service):
    assert [name for name, route in routes(service) if route.body_field is not None] == []


@pytest.mark.parametrize("name", ROLES)
async def test_without_a_token_nothing_is_told(service: Service, name: str):
    method, path = name.split(" ")
    answer = await service.http.request(method, path.replace("{act}", "claim"))
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_missing")
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert {each: answer.headers.get(each) for each in SECURITY_HEADERS} == SECURITY_HEADERS


@pytest.mark.parametrize("name", ROLES)
async def test_a_role_that_does_not_suffice_is_refused(service: Service, name: str):
    method, path = name.split(" ")
    wrong = set(Role) - ROLES[name]
    for role in wrong:
        caller = service.as_(person(f"outsider-{role}-{name}", role))
        answer = await service.http.request(method, path.replace("{act}", "claim"), headers=caller)
        assert (answer.status_code, answer.json()["code"]) == (403, "auth.role_missing")
    assert wrong or ROLES[name] == ANYONE


async def test_a_refusal_is_on_record_and_a_flood_of_them_is_not(service: Service):
    actor = person("flooder", Role.OPERATOR)
    for _ in range(10):
        await service.get("/v1/tasks", actor)
    assert service.count("entry", chain="refusals/flooder", kind="api:request:refused") == 3
    service.clock.pass_(minutes=2)
    await service.get("/v1/tasks", actor)
    assert service.count("entry", chain="refusals/flooder") == 4
    with service.database.superuser() as connection:
        row = connection.execute("SELECT header FROM entry WHERE chain = 'refusals/flooder' AND seq = 4").fetchone()
    assert row is not None
    assert b'"more_before":7' in bytes(row[0])  # pyright: ignore[reportArgumentType]


async def test_who_is_unknown_writes_nothing(service: Service):
    before = service.count("entry", kind="api:request:refused")
    for _ in range(5):
        await service.http.get("/v1/tasks")
    assert service.count("entry", kind="api:request:refused") == before


async def test_a_refusal_while_the_database_is_away_is_still_a_refusal(service: Service):
    async def away(*_: object) -> None:
        raise Unavailable("database.unavailable", "away")

    service.app.state.refusals = away
    answer = await service.get("/v1/tasks", person("x", Role.OPERATOR))
    assert answer.status_code == 403


async def test_a_log_that_was_never_signed_is_not_there(service: Service):
    for path in ("checkpoint", "2026/checkpoint", "tile/0/000", "2026/tile/0/000"):
        answer = await service.http.get(f"/ledger/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "ledger.not_there")


async def test_the_process_lives(service: Service):
    assert (await service.http.get("/healthz")).json() == {"status": "alive"}


async def test_readiness_names_the_part_that_is_away(service: Service):
    ready = await service.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "parts": {"database": True, "vault": True}})

    async def away() -> None:
        raise Unavailable("vault.unavailable", "away")

    service.app.state.dependencies.probes["vault"] = away
    assert (await service.http.get("/readyz")).status_code == 200, "kept for a second"
    service.clock.pass_(seconds=1)
    answer = await service.http.get("/readyz")
    assert (answer.status_code, answer.json()["parts"]) == (503, {"database": True, "vault": False})
    assert answer.headers["retry-after"]


async def test_readiness_asks_its_parts_once_a_second_however_many_want_to_know(service: Service):
    asked = 0

    async def slow() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)

    service.clock.pass_(seconds=1)
    service.app.state.dependencies.probes["vault"] = slow
    answers = await asyncio.gather(*(service.http.get("/readyz") for _ in range(20)))
    assert ({answer.status_code for answer in answers}, asked) == ({200}, 1)


async def test_a_caller_with_the_longest_names_is_refused_on_record(service: Service):
    actor = person("é" * 100, Role.OPERATOR)
    before = service.count("entry", kind="api:request:refused")
    assert (await service.get("/v1/tasks", actor)).status_code == 403
    assert service.count("entry", kind="api:request:refused") == before + 1


async def test_the_description_is_complete(service: Service):
    made = (await service.http.get("/openapi.json")).json()
    assert made["openapi"].startswith("3.1")
    described = {f"{method.upper()} {path}" for path, each in made["paths"].items() for method in each}
    open_ = {path.replace(":path", "") for path in OPEN_PATHS}
    assert {name.replace(":path", "") for name in ROLES} | {
        f"GET {path}" for path in open_ - {"/openapi.json"}
    } == described
    for path, each in made["paths"].items():
        for operation in each.values():
            assert operation["summary"]
            if path not in open_:
                assert operation["security"] == [{"token": []}]
                assert operation["responses"]["401"]["content"]["application/problem+json"]
    for reference in references(made):
        find(made, reference)
    for schema in made["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_examples_fit_their_schemas(service: Service):
    made = (await service.http.get("/openapi.json")).json()
    checked = 0
    for content in contents(made):
        if "example" in content and content["schema"] != {"type": "array"}:
            Draft202012Validator({**content["schema"], "components": made["components"]}).validate(content["example"])
            checked += 1
    assert checked > 10


async def test_a_problem_is_as_described(service: Service):
    made = (await service.http.get("/openapi.json")).json()
    answers: list[httpx.Response] = [
        await service.http.get("/nowhere"),
        await service.get("/v1/cases/none", CLERK),
        await service.get("/v1/cases?limit=0", CLERK),
        await service.send(b"{}"),
        await service.post("/v1/tasks/none/approve", CLERK, json={}),
        await service.get("/v1/cases", sender(), params={"cursor": "nonsense"}),
    ]
    for answer in answers:
        assert answer.status_code >= 400
        Draft202012Validator(made["components"]["schemas"]["Problem"]).validate(answer.json())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def contents(value: Any) -> Iterator[dict[str, Any]]:
    """Every media type object."""
    if isinstance(value, dict):
        if "schema" in value and "example" in value:
            yield value
        for each in value.values():
            yield from contents(each)
    elif isinstance(value, list):
        for each in value:
            yield from contents(each)


def find(value: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        value = value[step]
    return value


ROOT = Path(diwan.__file__).parent.parent
SPOKEN_OF = {"json", "http", "event", "document", "letter", "receipt", "task", "list", "procedure"}


def kinds(error: type[DiwanError]) -> Iterator[str]:
    yield error.__name__
    for each in error.__subclasses__():
        yield from kinds(each)


ERRORS = set(kinds(DiwanError))


def codes(folder: Path) -> Iterator[tuple[str, str]]:
    """Every code that an error of ours is made with, and where."""
    for path in sorted(folder.rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            first = call.args[0] if call.args else None
            if name in ERRORS and isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value:
                yield first.value, str(path)


@pytest.mark.parametrize("part", ["web", "store"])
def test_every_code_that_a_caller_may_get_is_explained(part: str):
    text = (ROOT / "docs" / "api.md").read_text()
    missing = {
        (code, where)
        for code, where in codes(ROOT / "diwan" / part)
        if code.partition(".")[0] in SPOKEN_OF and f"`{code}`" not in text
    }
    assert missing == set()
