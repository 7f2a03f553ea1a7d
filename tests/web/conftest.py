"""The service over HTTP, without a socket: real database, real encryption, real tokens of an issuer in memory."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey
from psycopg import sql

from diwan.documents.readers import Readers
from diwan.domain.actor import Actor
from diwan.store.database import Database
from diwan.web.app import create_app
from diwan.web.auth import TokenVerifier
from diwan.web.dependencies import Dependencies
from diwan.web.limits import Limits
from tests.support.clocks import Machine, forget, watch_on
from tests.support.databases import TestDatabase
from tests.support.factories import PROCEDURE, SOURCE, TENANT, ministry, sender
from tests.support.keyring import MemoryKeyring

ISSUER = "https://issuer.example"
KEY = ECKey.generate_key("P-256", auto_kid=True)
# Small enough that a test can go beyond them.
LIMITS = Limits(json_bytes=256 * 1024, batch_bytes=512 * 1024, multipart_bytes=2 * 1024 * 1024, refusals_per_minute=3)

ANSWERS: dict[str, Any] = {
    "identity_number": "ZZ100001",
    "household": 4,
    "residence": "Salé",
    "price": 280000,
    "rooms": 3,
    "permit_date": "2024-02-11",
    "notary": "Maître Exemple, Rabat",
    "bank_account": "011780000012345678901234",
}
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF\n"
)


class Clock:
    """The service's time, which a test moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


async def fetch(url: str) -> Mapping[str, Any]:
    if url.endswith("/.well-known/openid-configuration"):
        return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"}
    return {"keys": [dict(KEY.as_dict(private=False))]}


@dataclass
class Service:
    """The application and a client; `as_` gives the headers of a caller."""

    app: FastAPI
    http: httpx.AsyncClient
    db: Database
    database: TestDatabase
    keyring: MemoryKeyring
    clock: Clock
    machine: Machine

    def as_(self, actor: Actor) -> dict[str, str]:
        claims = {
            "iss": ISSUER,
            "aud": "diwan",
            "sub": actor.subject,
            "tenant": actor.tenant,
            "roles": [role.value for role in actor.roles],
            "iat": int(self.clock.now.timestamp()),
            "exp": int(self.clock.now.timestamp()) + 300,
        }
        token = jwt.encode({"alg": "ES256", "kid": KEY.kid, "typ": "at+jwt"}, claims, KEY)
        return {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, actor: Actor, **sent: Any) -> httpx.Response:
        return await self.http.get(path, headers=self.as_(actor) | sent.pop("headers", {}), **sent)

    async def post(self, path: str, actor: Actor, **sent: Any) -> httpx.Response:
        return await self.http.post(path, headers=self.as_(actor) | sent.pop("headers", {}), **sent)

    async def send(
        self, event: Any, parts: Mapping[str, bytes] | None = None, *, actor: Actor | None = None
    ) -> httpx.Response:
        """An event in structured mode (a dict, or bytes as they are), with documents as multipart."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        caller = actor or sender()
        if parts is None:
            return await self.post(
                "/v1/events", caller, content=body, headers={"Content-Type": "application/cloudevents+json"}
            )
        files = {"event": (None, body), **{name: (None, content) for name, content in parts.items()}}
        return await self.post("/v1/events", caller, files=files)

    def count(self, table: str, **where: str) -> int:
        """How many rows there are, past row security."""
        condition = sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(k), v) for k, v in where.items())
        query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(table), condition)
        with self.database.superuser() as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        assert isinstance(row[0], int)
        return row[0]


def an_event(reference: str = "", **changed: Any) -> dict[str, Any]:
    """An application as it is sent; every call makes another one."""
    unique = reference or uuid.uuid4().hex
    data: dict[str, Any] = {
        "procedure": PROCEDURE,
        "reference": unique,
        "language": "fr",
        "parties": [{"role": "applicant", "name": "Zineb Exemplaire", "identity_number": "ZZ 100001"}],
        "answers": ANSWERS,
    }
    data |= changed.pop("data", {})
    made = {"specversion": "1.0", "id": f"e-{unique}", "source": SOURCE, "type": "diwan.application.submitted"}
    return {**made, "data": data, **changed}


def doc(part: str, name: str = "promesse.pdf", **more: str) -> dict[str, str]:
    """A document as an event's data names it."""
    return {"name": name, "part": part, **more}


@pytest.fixture(scope="session")
async def readers() -> AsyncIterator[Readers]:
    """Processes that read documents, shared by all tests."""
    async with Readers(size=1) as made:
        yield made


@pytest.fixture(scope="module")
async def settled(database: TestDatabase) -> TestDatabase:
    """The module's database with a ministry, its procedure, its sender and its delegation."""
    await ministry(database, now=datetime.fromisoformat("2026-11-01T00:00:00+00:00"))
    return database


@pytest.fixture
async def service(
    settled: TestDatabase,
    connect: Callable[[str], Database],
    keyring: MemoryKeyring,
    readers: Readers,
    now: datetime,
) -> AsyncIterator[Service]:
    clock = Clock(now)
    machine = Machine(clock)
    forget(settled, TENANT)
    db = connect("diwan_web")

    async def alive() -> None: ...

    probes: dict[str, Callable[[], Awaitable[None]]] = {"vault": alive}
    verifier = TokenVerifier(ISSUER, "diwan", fetch, clock=clock)
    deps = Dependencies(
        db=db,
        keyring=keyring,
        verifier=verifier,
        clock=clock,
        watch=watch_on(machine, "web"),
        probes=probes,
        limits=LIMITS,
        readers=readers,
    )
    app = create_app(deps)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://diwan") as http:
        yield Service(app, http, db, settled, keyring, clock, machine)
