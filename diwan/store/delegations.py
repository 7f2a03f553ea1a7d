"""Who may sign what, until which amount and day. A delegation is revoked, never deleted or rewritten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql

from diwan.domain.case import Result
from diwan.domain.errors import NotFound
from diwan.store.connection import Connection
from diwan.store.tables import delegation


@dataclass(frozen=True, slots=True)
class Delegation:
    """`subject` may sign decisions of `procedure` with one of `results` up to `amount_limit` (None: any).

    Both days belong to it. `revoked_on` is the first day on which it no longer holds. `reference` is the act that
    gave it.
    """

    id: str
    subject: str
    procedure: str
    results: list[Result]
    amount_limit: int | None
    valid_from: date
    valid_to: date
    reference: str
    revoked_on: date | None = None


async def add_delegation(conn: Connection, tenant: str, given: Delegation) -> None:
    """Stores a delegation; one of this id stays as it is. The owner's role only."""
    values = {name: getattr(given, name) for name in Delegation.__dataclass_fields__}
    values["results"] = [result.value for result in given.results]
    await conn.execute(postgresql.insert(delegation).values(tenant=tenant, **values).on_conflict_do_nothing())


async def revoke_delegation(conn: Connection, tenant: str, id_: str, *, on: date) -> None:
    """From `on` the delegation no longer holds. Raises `NotFound`."""
    done = await conn.execute(
        update(delegation).where(delegation.c.tenant == tenant, delegation.c.id == id_).values(revoked_on=on)
    )
    if done.rowcount != 1:
        raise NotFound("delegation.unknown", "There is no such delegation.", "Check its id.")


async def valid_delegation(
    conn: Connection, tenant: str, subject: str, procedure: str, result: Result, amount: int | None, *, on: date
) -> str | None:
    """The id of a delegation under which `subject` may sign this decision on this day; None where there is none."""
    d = delegation.c
    found = await conn.execute(
        select(d.id)
        .where(
            d.tenant == tenant,
            d.subject == subject,
            d.procedure == procedure,
            d.results.any_() == result.value,
            d.valid_from <= on,
            d.valid_to >= on,
            or_(d.revoked_on.is_(None), d.revoked_on > on),
            or_(d.amount_limit.is_(None), d.amount_limit >= (amount or 0)),
        )
        .order_by(d.id)
        .limit(1)
    )
    return found.scalar_one_or_none()


async def reference_of(conn: Connection, tenant: str, id_: str) -> str:
    """The act that gave the delegation, as letters cite it. Raises `NotFound`."""
    found = await conn.execute(
        select(delegation.c.reference).where(delegation.c.tenant == tenant, delegation.c.id == id_)
    )
    reference = found.scalar_one_or_none()
    if reference is None:
        raise NotFound("delegation.unknown", "There is no such delegation.", "Check its id.")
    return reference
