"""Whatever an auditor reads is on the ledger, in the transaction of the read; of others nothing is written."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import APIRoute

from diwan.domain.actor import Role, system
from diwan.domain.errors import Unavailable
from diwan.store.change import change_case
from diwan.store.letters import seal_letter, store_letter
from diwan.web.api import reads
from tests.support.databases import TestDatabase
from tests.support.factories import CLERK, TENANT, person
from tests.support.growing import Grower, growing
from tests.support.keyring import MemoryKeyring
from tests.web.conftest import PDF, Service, an_event, doc
from tests.web.test_web_routes import ROLES, routes

Json = dict[str, Any]
# About nobody.
NOT_READS = {"GET /v1/procedures", "GET /v1/procedures/{name}", "GET /v1/procedures/{name}/schema", "GET /v1/clock"}


@pytest.fixture(scope="module")
def keyring() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture(scope="module")
async def log(settled: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(settled, tmp_path_factory.mktemp("signer")) as made:
        yield made


@dataclass(frozen=True)
class Read:
    """A case with a document and a letter, a task of another event, in the log; what each address reads of them."""

    case: str
    addresses: dict[str, tuple[str, str, Json]]


@pytest.fixture
async def read(service: Service, log: Grower) -> Read:
    accepted = (await service.send(an_event(data={"documents": [doc("a")]}), {"a": PDF})).json()
    case, (document,) = accepted["case"], accepted["documents"]
    stray = an_event(data={"note": "?", "documents": [doc("a")]}) | {"type": "diwan.pieces.supplied", "subject": "none"}
    stray["data"] = {"note": "?", "documents": [doc("a")]}
    await service.send(stray, {"a": PDF})
    cipher = await service.keyring.cipher(TENANT, case)
    letter = seal_letter(
        cipher,
        f"{case}/receipt/1",
        kind="receipt",
        language="fr",
        number=case,
        template="t",
        content={"to": "Z"},
        pdf=PDF,
    )
    workers = log._worker  # pyright: ignore[reportPrivateUsage]
    async with (
        workers.transaction(TENANT) as conn,
        change_case(conn, TENANT, case, now=service.clock.now) as change,
    ):
        await store_letter(change, letter)
        change.record("letter:letter:issued", system(TENANT, "worker"), cipher=cipher)
    await log.grow(1)
    (*_, task) = (await service.get("/v1/tasks", CLERK, params={"kind": "stray_event"})).json()["items"]
    shown = (await service.get(f"/v1/tasks/{task['id']}", CLERK)).json()["shown"]
    of_case, own = {"case": case}, f"/v1/cases/{case}"
    a_file = shown["documents"][0]["id"]
    addresses: dict[str, tuple[str, str, Json]] = {
        "GET /v1/cases": ("/v1/cases?limit=1", reads.LIST, {"of": "cases", "found": 1}),
        "GET /v1/cases/{case}": (own, reads.CASE, {**of_case, "part": "file"}),
        "GET /v1/cases/{case}/events": (f"{own}/events", reads.CASE, {**of_case, "part": "events"}),
        "GET /v1/cases/{case}/story": (f"{own}/story", reads.CASE, {**of_case, "part": "story"}),
        "GET /v1/cases/{case}/trace": (f"{own}/trace", reads.CASE, {**of_case, "part": "trace"}),
        "GET /v1/cases/{case}/past": (
            *(f"{own}/past?entry=1", reads.CASE),
            {**of_case, "part": "past", "version": 1},
        ),
        "GET /v1/cases/{case}/calls": (f"{own}/calls", reads.CASE, {**of_case, "part": "calls"}),
        "GET /v1/cases/{case}/documents": (f"{own}/documents", reads.CASE, {**of_case, "part": "documents"}),
        "GET /v1/cases/{case}/documents/{document}": (
            *(f"{own}/documents/{document['document']}", reads.DOCUMENT),
            {**of_case, "document": document["document"]},
        ),
        "GET /v1/cases/{case}/letters": (f"{own}/letters", reads.CASE, {**of_case, "part": "letters"}),
        "GET /v1/cases/{case}/letters/{letter:path}": (
            *(f"{own}/letters/{letter.id}", reads.LETTER),
            {**of_case, "letter": letter.id},
        ),
        "GET /v1/cases/{case}/receipt": (f"{own}/receipt", reads.LETTER, {**of_case, "letter": letter.id}),
        "GET /v1/tasks": ("/v1/tasks?limit=1", reads.LIST, {"of": "tasks", "found": 1}),
        "GET /v1/erasures": ("/v1/erasures", reads.LIST, {"of": "erasures", "found": 0}),
        "GET /v1/erasures/without-case": (
            *("/v1/erasures/without-case", reads.LIST),
            {"of": "erasures_without_case", "found": 0},
        ),
        "GET /v1/tasks/{task}": (f"/v1/tasks/{task['id']}", reads.TASK, {"task": task["id"]}),
        "GET /v1/tasks/{task}/documents/{document}": (
            *(f"/v1/tasks/{task['id']}/documents/{a_file}", reads.DOCUMENT),
            {"document": a_file},
        ),
        "GET /v1/entries": (f"/v1/entries?case={case}", reads.SEARCH, {**of_case, "found": 2, "later_page": False}),
        "GET /ledger/tile/entries/{path:path}": (
            *("/ledger/tile/entries/000.p/1", reads.ENTRIES),
            {"tile": "tile/entries/000.p/1"},
        ),
    }
    return Read(case, addresses)


def entries_of(service: Service, subject: str) -> list[Json]:
    with service.database.superuser() as connection:
        rows = connection.execute("SELECT header FROM entry WHERE chain = %s ORDER BY seq", [f"reads/{subject}"])
        return [json.loads(bytes(row[0])) for row in rows.fetchall()]  # pyright: ignore[reportArgumentType]


async def test_each_read_is_an_entry_and_without_it_there_is_no_read(
    service: Service, read: Read, monkeypatch: pytest.MonkeyPatch
):
    for name, (address, kind, detail) in read.addresses.items():
        auditor = person(f"auditor {name}"[:80], Role.AUDITOR, Role.CLERK)
        answer = await service.get(address, auditor, headers={"Diwan-Purpose": "inquiry/7"})
        assert answer.status_code == 200, (name, answer.text)
        (entry,) = entries_of(service, auditor.subject)
        entry["detail"].pop("log", None)
        assert (entry["kind"], entry["purpose"], entry["detail"]) == (kind, "inquiry/7", detail), name

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("database.unavailable", "away")

    monkeypatch.setattr(reads, "append_entry", away)
    for name, (address, _, _) in read.addresses.items():
        answer = await service.get(address, person("auditor-9", Role.AUDITOR))
        assert (answer.status_code, answer.json()["code"]) == (503, "database.unavailable"), name
    assert entries_of(service, "auditor-9") == []


async def test_the_reads_of_others_are_not_written(service: Service, read: Read):
    supervisor = person("supervisor-of-reads", Role.SUPERVISOR)
    for address, _, _ in read.addresses.values():
        await service.get(address, supervisor)
    assert entries_of(service, supervisor.subject) == []


async def test_what_is_not_there_was_not_read_and_a_purpose_is_a_word(service: Service, read: Read):
    auditor = person("auditor-of-nothing", Role.AUDITOR)
    assert (await service.get("/v1/cases/none", auditor)).status_code == 404
    for purpose in ("à cause de Zineb", "", "two words", "x" * 81):
        answer = await service.get(f"/v1/cases/{read.case}", auditor, headers={"Diwan-Purpose": purpose.encode()})
        assert answer.status_code == 422, purpose
    assert entries_of(service, auditor.subject) == []


async def test_every_route_that_an_auditor_may_call_reads_on_record(service: Service, read: Read):
    """By its dependency here, by what it writes above; who adds one says which it is."""
    of_auditors = {name for name, roles in ROLES.items() if Role.AUDITOR in roles}
    on_record = {name for name, route in routes(service) if _says_so(route)}
    assert of_auditors - on_record == NOT_READS | {name for name in of_auditors if name.startswith("POST /v1/events")}
    same = {"GET /ledger/{shard}/tile/entries/{path:path}", "GET /v1/cases/{case}/reruns/{rerun}"}
    assert {name for name in on_record if name.startswith("GET")} - set(read.addresses) == same


def _says_so(route: APIRoute) -> bool:
    return any(each.call is reads._reads for each in route.dependant.dependencies)  # pyright: ignore[reportPrivateUsage]
