"""Registers that a procedure's facts come from. One so far: aid granted earlier, by this service or before it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from activities.dossier import Dossier
from diwan.domain.facts import Fact, Provenance
from diwan.domain.ports import Keyring
from diwan.store import grants
from diwan.store.database import Database
from diwan.store.parties import identity_token

EARLIER_AID = "registry.earlier_aid"


class Registers:
    """`earlier` holds identity tokens of people who were granted aid before this service was there."""

    def __init__(self, db: Database, keyring: Keyring, earlier: Collection[str] = ()) -> None:
        self._db = db
        self._keyring = keyring
        self._earlier = frozenset(earlier)

    async def earlier_aid(self, tenant: str, case: str, procedure: str, identity_number: str) -> bool:
        """Whether the holder of this number was granted aid in another case of this ministry, or before."""
        token = await identity_token(self._keyring, tenant, identity_number)
        if not token:
            return False
        if token in self._earlier:
            return True
        async with self._db.transaction(tenant) as conn:
            return await grants.granted_elsewhere(conn, tenant, case, procedure, token)

    async def facts_for(self, dossier: Dossier, now: datetime) -> list[Fact]:
        """What the registers say of the applicant, for each fact that the procedure takes from one."""
        number, case = dossier.identity_number, dossier.case
        found: list[Fact] = []
        for name, declared in dossier.procedure.facts.items():
            if declared.source.registry != EARLIER_AID or not number:
                continue
            found.append(
                Fact(
                    name=name,
                    value=await self.earlier_aid(case.tenant, case.id, case.procedure, number),
                    provenance=Provenance.REGISTRY,
                    as_of=dossier.calendar.day_of(now),
                    established_by=EARLIER_AID,
                )
            )
        return found
