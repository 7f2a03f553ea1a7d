"""Sets up a ministry: its settings, who sends, who signs, where events go. The owner's role only; on the ledger."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

from sqlalchemy import select

from diwan.domain.actor import Actor
from diwan.domain.errors import NotFound
from diwan.domain.tenant import DelegationGrant, Ministry
from diwan.ledger.entry import EntryHeader, canonical
from diwan.store.connection import Connection
from diwan.store.delegations import Delegation, add_delegation, revoke_delegation
from diwan.store.entries import append_entry
from diwan.store.sources import bind_source
from diwan.store.tables import entry
from diwan.store.tenants import WebhookRow, put_tenant, put_webhook, settings_of

CHAIN = "configuration/ministry"
APPLIED = "ministry:configuration:applied"


async def apply_ministry(conn: Connection, ministry: Ministry, actor: Actor, *, now: datetime) -> bool:
    """Makes the tenant what the file says, as far as it says; False (nothing changed) where it was applied last.

    A delegation of the same id stays as it was, but for its revocation: who could sign when is never rewritten.
    """
    tenant = ministry.tenant
    digest = hashlib.sha256(canonical(ministry.model_dump(mode="json"))).hexdigest()
    if await _applied_last(conn, tenant) == digest:
        return False
    before = await _days(conn, tenant)
    await put_tenant(conn, tenant, ministry.settings.model_dump(mode="json"))
    for binding in ministry.sources:
        await bind_source(conn, tenant, binding.source, binding.client)
    for grant in ministry.delegations:
        await _delegate(conn, tenant, grant)
    for hook in ministry.webhooks:
        await put_webhook(conn, tenant, WebhookRow(tenant, hook.id, hook.url, hook.secret, hook.active))
    await append_entry(
        conn,
        tenant,
        CHAIN,
        APPLIED,
        actor,
        now=now,
        detail={
            "file": digest,
            "sources": len(ministry.sources),
            "delegations": len(ministry.delegations),
            "webhooks": len(ministry.webhooks),
        },
    )
    await _record_days(conn, tenant, actor, before, await _days(conn, tenant), now)
    return True


async def _days(conn: Connection, tenant: str) -> dict[date, str]:
    """The days that the ministry itself closed or opened."""
    try:
        settings = await settings_of(conn, tenant)
    except NotFound:  # it is being set up
        return {}
    return {date.fromisoformat(day): how for how in ("closed", "opened") for day in settings.get(f"{how}_days", ())}


async def _record_days(
    conn: Connection, tenant: str, actor: Actor, before: dict[date, str], after: dict[date, str], now: datetime
) -> None:
    """An entry for each day that counts otherwise from now on: dates fixed before went by the calendar of then."""
    for day in sorted(before.keys() | after.keys()):
        became = after.get(day, "released")
        if became != before.get(day, "released"):
            kind = f"ministry:day:{became}"
            await append_entry(conn, tenant, CHAIN, kind, actor, now=now, detail={"day": day.isoformat()})


async def _delegate(conn: Connection, tenant: str, grant: DelegationGrant) -> None:
    given = Delegation(
        id=grant.id,
        subject=grant.subject,
        procedure=grant.procedure,
        results=list(grant.results),
        amount_limit=grant.amount_limit,
        valid_from=grant.valid_from,
        valid_to=grant.valid_to,
        reference=grant.reference,
    )
    await add_delegation(conn, tenant, given)
    if grant.revoked_on is not None:
        await revoke_delegation(conn, tenant, grant.id, on=grant.revoked_on)


async def is_set_up(conn: Connection, tenant: str) -> bool:
    """Whether a ministry's file was ever applied."""
    return await _applied_last(conn, tenant) != ""


async def _applied_last(conn: Connection, tenant: str) -> str:
    found = await conn.execute(
        select(entry.c.header)
        .where(entry.c.tenant == tenant, entry.c.chain == CHAIN, entry.c.kind == APPLIED)
        .order_by(entry.c.seq.desc())
        .limit(1)
    )
    header = found.scalar_one_or_none()
    return str(EntryHeader.model_validate_json(header).detail.get("file", "")) if header else ""
