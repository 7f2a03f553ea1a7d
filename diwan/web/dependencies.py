"""What the routes work with: made once by the command line, found by each request on its app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from diwan.documents.readers import Readers
from diwan.domain.ports import Keyring
from diwan.store.clock_watch import ClockWatch
from diwan.store.database import Database
from diwan.store.kept import KeptCipher, kept_cipher
from diwan.web.api.bodies import BodyBudget
from diwan.web.auth import TokenVerifier
from diwan.web.limits import Limits

Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Dependencies:
    """`clock` gives the time in UTC, `watch` says whether legal dates may rest on it. `probes` are the parts that
    `/readyz` asks besides the database (`vault`, `issuer`): each raises when its part cannot be used. Whoever makes
    `readers` closes them.
    """

    db: Database
    keyring: Keyring
    verifier: TokenVerifier
    clock: Callable[[], datetime]
    watch: ClockWatch
    probes: Mapping[str, Probe] = field(default_factory=dict[str, Probe])
    limits: Limits = field(default_factory=Limits)
    readers: Readers = field(default_factory=Readers)
    budget: BodyBudget = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", BodyBudget(self.limits.in_flight_bytes))

    async def cipher(self, tenant: str, scope: str) -> KeptCipher:
        """The only way by which a route has a scope's keys: what is erased does not open from this process's memory."""
        cipher = await self.keyring.cipher(tenant, scope)
        async with self.db.transaction(tenant) as conn:
            return await kept_cipher(conn, tenant, scope, cipher)

    async def stamp(self, tenant: str) -> datetime:
        """The instant of what a tenant's caller does now; a clock that jumped has been noticed when it is given."""
        async with self.db.transaction(tenant) as conn:
            return (await self.watch.read(conn, tenant))[0]


def of_app(request: Request) -> Dependencies:
    dependencies: Dependencies = request.app.state.dependencies
    return dependencies


Deps = Annotated[Dependencies, Depends(of_app)]
