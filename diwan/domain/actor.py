"""Who acts: a person, a source system, an agent, a rule, or the service itself."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from pydantic import BaseModel


class ActorKind(StrEnum):
    PERSON = "person"
    SOURCE = "source"
    AGENT = "agent"
    RULE = "rule"
    SYSTEM = "system"


class Role(StrEnum):
    """Roles that an access token may carry (claim `roles`)."""

    INTAKE = "intake"  # a source system: portal, counter, scan line
    CLERK = "clerk"
    SUPERVISOR = "supervisor"
    AUTHORITY = "authority"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    OPERATOR = "operator"


class Actor(BaseModel, frozen=True):
    """`subject` is a stable pseudonym of the issuer's (`sub`), never a name.

    `authentication` says how it was established, e.g. `oidc:<issuer>`; empty for rules and agents.
    """

    kind: ActorKind
    subject: str
    tenant: str
    roles: frozenset[Role] = frozenset()
    authentication: str = ""

    def has(self, *roles: Role) -> bool:
        return any(role in self.roles for role in roles)


@lru_cache(maxsize=256)
def system(tenant: str, part: str) -> Actor:
    return Actor(kind=ActorKind.SYSTEM, subject=part, tenant=tenant)


@lru_cache(maxsize=256)
def rule(tenant: str, name: str) -> Actor:
    return Actor(kind=ActorKind.RULE, subject=name, tenant=tenant)


@lru_cache(maxsize=256)
def agent(tenant: str, spec: str) -> Actor:
    return Actor(kind=ActorKind.AGENT, subject=spec, tenant=tenant)
