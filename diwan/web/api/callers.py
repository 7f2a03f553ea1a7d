"""Who may call what, and which cases they see: a sender only those of its own sources, staff all of their tenant's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from structlog.contextvars import bind_contextvars

from diwan.domain.actor import Actor, Role
from diwan.domain.errors import NotFound
from diwan.domain.text import Language
from diwan.store.cases import get_case
from diwan.store.change import CaseRow
from diwan.store.connection import Connection
from diwan.store.sources import sources_of
from diwan.web.auth import RoleGate, require

STAFF = (Role.CLERK, Role.SUPERVISOR, Role.AUTHORITY, Role.AUDITOR)
WORKERS = (Role.CLERK, Role.SUPERVISOR, Role.AUTHORITY)


class Caller:
    """As `require`, and keeps the actor with the request, so that a later refusal is recorded under its name."""

    def __init__(self, *roles: Role) -> None:
        self.gate: RoleGate = require(*roles)

    async def __call__(self, request: Request) -> Actor:
        actor = await self.gate(request)
        request.state.actor = actor
        bind_contextvars(tenant=actor.tenant)
        return actor


Anyone = Annotated[Actor, Depends(Caller(*Role))]
Sender = Annotated[Actor, Depends(Caller(Role.INTAKE))]
Staff = Annotated[Actor, Depends(Caller(*STAFF))]
StaffOrSender = Annotated[Actor, Depends(Caller(*STAFF, Role.INTAKE))]
Worker = Annotated[Actor, Depends(Caller(*WORKERS))]
WorkerOrAuditor = Annotated[Actor, Depends(Caller(*WORKERS, Role.AUDITOR))]
Supervisor = Annotated[Actor, Depends(Caller(Role.SUPERVISOR, Role.OPERATOR))]
StaffOrOperator = Annotated[Actor, Depends(Caller(*STAFF, Role.OPERATOR))]
Operator = Annotated[Actor, Depends(Caller(Role.OPERATOR))]
AuditorOrSupervisor = Annotated[Actor, Depends(Caller(Role.AUDITOR, Role.SUPERVISOR))]
Auditor = Annotated[Actor, Depends(Caller(Role.AUDITOR))]
Authority = Annotated[Actor, Depends(Caller(Role.AUTHORITY))]
Approver = Annotated[Actor, Depends(Caller(Role.SUPERVISOR, Role.AUTHORITY))]
ApproverOrAuditor = Annotated[Actor, Depends(Caller(Role.SUPERVISOR, Role.AUTHORITY, Role.AUDITOR))]
Analyst = Annotated[Actor, Depends(Caller(Role.ANALYST))]


def is_staff(actor: Actor) -> bool:
    return actor.has(*STAFF)


async def visible_sources(conn: Connection, actor: Actor) -> frozenset[str] | None:
    """The sources whose cases the actor sees; None: all."""
    return None if is_staff(actor) else await sources_of(conn, actor.tenant, actor.subject)


async def visible_case(conn: Connection, actor: Actor, key: str) -> CaseRow:
    """The case of this id or number. Raises `NotFound` also for one that this actor may not see."""
    case = await get_case(conn, actor.tenant, key)
    sources = await visible_sources(conn, actor)
    if sources is not None and case.source not in sources:
        raise NotFound("case.unknown", "There is no such case.", "Check its number.")
    bind_contextvars(case=case.id)
    return case


def language_of(request: Request) -> Language:
    """The first language of `Accept-Language` that we have; English where there is none."""
    for wanted in request.headers.get("accept-language", "").split(","):
        tag = wanted.partition(";")[0].strip().lower().partition("-")[0]
        if tag in ("ar", "fr", "en"):
            return Language(tag)
    return Language.EN


Wanted = Annotated[Language, Depends(language_of)]
