"""The embedded stack's ministry: its schema, an invented tenant, who may send, who may sign, the shipped procedures.

Everything here can be repeated, and is at each start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime

from diwan.domain.actor import system
from diwan.domain.case import Result
from diwan.domain.errors import Conflict
from diwan.domain.tenant import DelegationGrant, Ministry, Signatory, SourceBinding, TenantSettings
from diwan.domain.text import Localized
from diwan.embedded.child import Say
from diwan.embedded.parts import Parts
from diwan.procedures.examples import example_names, example_text
from diwan.store import migrate, ministries, procedures
from diwan.store.connection import Connection
from diwan.store.database import Database

TENANT = "demo"
SOURCE = "urn:diwan:counter"  # what `diwan submit` sends as
INTAKE, AUTHORITY = "demo-intake", "demo-authority"
_SIGNED = (Result.GRANTED, Result.PARTLY_GRANTED, Result.CONDITIONAL, Result.REFUSED, Result.INADMISSIBLE)
_MINISTRY = TenantSettings(
    name=Localized(
        ar="وزارة السكنى النموذجية (إدارة خيالية)",
        fr="Ministère modèle de l’habitat (administration fictive)",
        en="Model Ministry of Housing (invented)",
    ),
    place=Localized(ar="الرباط", fr="Rabat", en="Rabat"),
    address=Localized(
        ar="1، ساحة النموذج، الرباط (عنوان خيالي)",
        fr="1, place du Modèle, Rabat (adresse fictive)",
        en="1 Model Square, Rabat (invented address)",
    ),
    sample=True,
    signatories={
        AUTHORITY: Signatory(
            name=Localized(
                ar="نادية المثالي (شخص غير حقيقي)",
                fr="Nadia El Mithali (personne fictive)",
                en="Nadia El Mithali (invented person)",
            ),
            title=Localized(
                ar="رئيسة مصلحة الدعم المباشر للسكن",
                fr="Cheffe du service de l’aide directe au logement",
                en="Head of the Direct Housing Aid Office",
            ),
        )
    },
)


def demo_ministry(now: datetime) -> Ministry:
    """The invented ministry, with its counter as a sender and its authority's delegation of this year and the next."""
    return Ministry(
        tenant=TENANT,
        settings=_MINISTRY,
        sources=(SourceBinding(source=SOURCE, client=INTAKE),),
        delegations=tuple(
            DelegationGrant(
                id=f"demo-{name}-{now.year}",
                subject=AUTHORITY,
                procedure=name,
                results=_SIGNED,
                amount_limit=100_000,
                valid_from=date(now.year, 1, 1),
                valid_to=date(now.year + 1, 12, 31),
                reference=f"Arrêté fictif n° 1-{now.year}",
            )
            for name in example_names()
        ),
    )


async def bootstrap(parts: Parts, *, clock: Callable[[], datetime], say: Say) -> None:
    """Migrate, then make what is missing of the demo ministry. Raises `Unavailable` when the database does not."""
    url = parts.postgres.url("diwan_owner")
    await asyncio.to_thread(migrate.upgrade, url)
    now = clock()
    db = Database.connect(url, role="diwan_owner", pool_size=1)
    try:
        async with db.transaction(TENANT) as conn:
            # Only once: what `diwan tenant apply` changed since then stays.
            if not await ministries.is_set_up(conn, TENANT):
                await ministries.apply_ministry(conn, demo_ministry(now), system(TENANT, "bootstrap"), now=now)
            for name in example_names():
                await _publish(conn, name, now, say)
    finally:
        await db.dispose()


async def _publish(conn: Connection, name: str, now: datetime, say: Say) -> None:
    try:
        await procedures.publish(conn, TENANT, example_text(name), system(TENANT, "bootstrap"), now=now)
    except Conflict:
        say(f"procedure {name}: this version was published with another text before; that one stays")
