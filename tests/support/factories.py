"""What a test needs to begin: a ministry with its procedure, people, and an application."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from diwan.domain.actor import Actor, ActorKind, Role
from diwan.domain.case import Result
from diwan.domain.event import APPLICATION_SUBMITTED, Application, Envelope
from diwan.domain.party import Party, PartyRole
from diwan.domain.text import Language
from diwan.procedures.examples import example_text
from diwan.store.database import Database
from diwan.store.delegations import Delegation, add_delegation
from diwan.store.documents import NewDocument
from diwan.store.procedures import publish
from diwan.store.sources import bind_source
from diwan.store.tenants import put_tenant
from tests.support.databases import TestDatabase

TENANT = "demo"
SOURCE = "urn:test:portal"
PROCEDURE = "direct-housing-aid"


def person(subject: str, *roles: Role, tenant: str = TENANT) -> Actor:
    return Actor(
        kind=ActorKind.PERSON, subject=subject, tenant=tenant, roles=frozenset(roles), authentication="oidc:test"
    )


def sender(subject: str = "portal", tenant: str = TENANT) -> Actor:
    return Actor(
        kind=ActorKind.SOURCE,
        subject=subject,
        tenant=tenant,
        roles=frozenset({Role.INTAKE}),
        authentication="oidc:test",
    )


CLERK = person("clerk-1", Role.CLERK)
OTHER_CLERK = person("clerk-2", Role.CLERK)
SUPERVISOR = person("supervisor-1", Role.SUPERVISOR)
AUTHORITY = person("authority-1", Role.AUTHORITY)
AUDITOR = person("auditor-1", Role.AUDITOR)


async def ministry(database: TestDatabase, *, now: datetime, tenant: str = TENANT) -> None:
    """Sets up a tenant as an operator would, by the owner's role: procedure, source, delegation."""
    owner = Database.connect(database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    try:
        async with owner.transaction(tenant) as conn:
            await put_tenant(conn, tenant, {"name": {"fr": "Ministère d'essai"}})
            await bind_source(conn, tenant, SOURCE, "portal")
            await publish(conn, tenant, example_text(PROCEDURE), person("analyst-1", Role.ANALYST), now=now)
            await add_delegation(conn, tenant, delegation())
    finally:
        await owner.dispose()


def delegation(**changed: Any) -> Delegation:
    values: dict[str, Any] = {
        "id": "delegation-1",
        "subject": AUTHORITY.subject,
        "procedure": PROCEDURE,
        "results": [Result.GRANTED, Result.REFUSED],
        "amount_limit": 100_000,
        "valid_from": date(2026, 1, 1),
        "valid_to": date(2026, 12, 31),
        "reference": "Arrêté d'essai 1-2026",
    }
    return Delegation(**{**values, **changed})


ANSWERS: dict[str, Any] = {
    "identity_number": "ZZ100001",
    "household": 3,
    "residence": "Salé",
    "price": 290_000,
    "rooms": 3,
    "permit_date": "2024-03-18",
    "notary": "Maître Modèle, Rabat",
    "bank_account": "001234567890123456789012",
}


def application(reference: str, **changed: Any) -> Application:
    values: dict[str, Any] = {
        "procedure": PROCEDURE,
        "reference": reference,
        "language": Language.FR,
        "parties": [
            Party(role=PartyRole.APPLICANT, name="Zineb Exemplaire", identity_number="ZZ 100001", language=Language.FR)
        ],
        "answers": ANSWERS,
    }
    return Application(**{**values, **changed})


def envelope(id_: str, type_: str = APPLICATION_SUBMITTED, *, subject: str = "", tenant: str = TENANT) -> Envelope:
    return Envelope(tenant=tenant, source=SOURCE, id=id_, type=type_, subject=subject)


def a_document(text: str = "Certificat modèle", **changed: str) -> NewDocument:
    return NewDocument(name="certificat.txt", data=text.encode(), media_type="text/plain", pages=1, **changed)
