"""Who may sign what, until which amount and day. A delegation is revoked, never deleted or rewritten."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Row, or_, select, update
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

    @property
    def terms(self) -> dict[str, JsonValue]:
        """What never changes of it, as the entry of a signature says under what was signed."""
        return {
            "id": self.id,
            "subject": self.subject,
            "procedure": self.procedure,
            "results": [str(result) for result in self.results],
            "amount_limit": self.amount_limit,
            "valid_from": self.valid_from.isoformat(),
            "valid_to": self.valid_to.isoformat(),
            "reference": self.reference,
        }


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
) -> Delegation | None:
    """A delegation under which `subject` may sign this decision on this day; None where there is none."""
    d = delegation.c
    found = await conn.execute(
        select(*_COLUMNS)
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
    row = found.one_or_none()
    return _given(row) if row else None


async def delegations_of(conn: Connection, tenant: str) -> dict[str, Delegation]:
    """All that were ever given, as they stand, by their ids."""
    rows = await conn.execute(select(*_COLUMNS).where(delegation.c.tenant == tenant))
    return {row.id: _given(row) for row in rows}


_COLUMNS = [delegation.c[name] for name in Delegation.__dataclass_fields__]


def _given(row: Row[Any]) -> Delegation:
    given = Delegation(*row)
    return replace(given, results=[Result(each) for each in given.results])


async def reference_of(conn: Connection, tenant: str, id_: str) -> str:
    """The act that gave the delegation, as letters cite it. Raises `NotFound`."""
    found = await conn.execute(
        select(delegation.c.reference).where(delegation.c.tenant == tenant, delegation.c.id == id_)
    )
    reference = found.scalar_one_or_none()
    if reference is None:
        raise NotFound("delegation.unknown", "There is no such delegation.", "Check its id.")
    return reference
