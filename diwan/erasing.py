"""What the case worker erases: it proposes what a procedure's retention is over for, and carries out what is approved;
what belongs to no case it erases by a rule.

Two commits with the vault between them: a process that dies in between leaves an erasure that is started, and whoever
looks next goes on with it. Destroying keys again changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from functools import partial

import structlog

from diwan.domain.actor import rule
from diwan.domain.erasure import ErasureStatus, ScopeRule
from diwan.domain.errors import Conflict, DiwanError, Erased, Unavailable
from diwan.domain.ports import Eraser, Keyring, RetentionClass
from diwan.domain.tenant import KeptWithoutCase
from diwan.store import retention, scope_erasures
from diwan.store.change import change_case
from diwan.store.clock_watch import ClockWatch
from diwan.store.database import Database
from diwan.store.destroying import finish_erasure, order_of, scopes_of, start_erasure
from diwan.store.erasure_lists import to_carry_out
from diwan.store.erasures import BY_SCHEDULE, ErasureRow, Wanted, ask_erasure
from diwan.store.procedures import procedure_of
from diwan.store.scope_erasures import ScopeErasure
from diwan.store.tenants import calendar_for, kept_without_case, over_all

log = structlog.get_logger()

Clock = Callable[[], datetime]

_AT_ONCE = 100  # in memory; a pass goes on, page by page, until it has tried each


class Proposals:
    """Asks, in the schedule's name, for the erasure of what has been kept long enough; a person then approves.

    `db` connects as diwan_worker. Dates are the office's, and stand still where its clock may not be trusted.
    """

    def __init__(self, db: Database, keyring: Keyring, watch: ClockWatch, *, at_once: int = _AT_ONCE) -> None:
        self._db = db
        self._keyring = keyring
        self._watch = watch
        self._at_once = at_once

    async def pass_once(self) -> int:
        """Looks once through every ministry. Returns how many proposals were made."""
        return await over_all(self._db, self._of_tenant)

    async def _of_tenant(self, tenant: str) -> int:
        made = 0
        async with self._db.transaction(tenant) as conn:
            now, standing = await self._watch.read(conn, tenant)
            hashes = await retention.versions_closed(conn, tenant)
        for hash_ in hashes:
            try:
                made += await self._of_version(tenant, hash_, now, legal=standing.legal(now))
            except Exception as error:  # whatever is wrong with it, the others have their turn
                log.error("erasure.version_failed", tenant=tenant, procedure=hash_, error=_name(error))
        if made:
            log.info("erasure.proposed", tenant=tenant, count=made)
        return made

    async def _of_version(self, tenant: str, hash_: str, now: datetime, *, legal: datetime) -> int:
        async with self._db.transaction(tenant) as conn:
            procedure = await procedure_of(conn, tenant, hash_)
            calendar = await calendar_for(conn, tenant, procedure)
        made, after = 0, None
        while True:
            async with self._db.transaction(tenant) as conn:
                page = await retention.over(
                    *(conn, tenant, hash_, procedure, calendar), now=legal, after=after, limit=self._at_once
                )
            for each in page.cases:
                made += await self._proposed(tenant, each.case_id, retention.wanted_of(each, procedure), now)
            if (after := page.next) is None:
                return made

    async def _proposed(self, tenant: str, case: str, wanted: Wanted, now: datetime) -> bool:
        try:
            cipher = await self._keyring.cipher(tenant, case)
            async with self._db.transaction(tenant) as conn, change_case(conn, tenant, case, now=now) as change:
                await ask_erasure(change, cipher, rule(tenant, BY_SCHEDULE), wanted)
        except (Conflict, Erased):  # somebody was faster
            return False
        except Exception as error:  # whatever is wrong with it, the others have their turn
            log.error("erasure.not_proposed", tenant=tenant, case=case, error=_name(error))
            return False
        return True


def _name(error: Exception) -> str:
    """What went wrong, and nothing of what it went wrong with."""
    return error.code if isinstance(error, DiwanError) else type(error).__name__


class Erasures:
    """Carries out what is approved. `db` connects as diwan_worker, `eraser` with the token that may destroy keys."""

    def __init__(self, db: Database, eraser: Eraser, clock: Clock, *, at_once: int = _AT_ONCE) -> None:
        self._db = db
        self._eraser = eraser
        self._clock = clock
        self._at_once = at_once

    async def pass_once(self) -> int:
        """Returns how many were carried out, over all ministries. One that fails keeps no other from its turn."""
        return await over_all(self._db, self._of_tenant)

    async def _of_tenant(self, tenant: str) -> int:
        """All that can be carried out, each once, a page of them in memory."""
        done, after = 0, None
        while True:
            async with self._db.transaction(tenant) as conn:
                rows = await to_carry_out(conn, tenant, after=after, limit=self._at_once)
            for row in rows:
                try:
                    done += await self._carried_out(tenant, row)
                except Exception as error:  # whatever is wrong with it, the others have their turn
                    log.error("erasure.failed", tenant=tenant, case=row.case_id, erasure=row.id, error=_name(error))
                    # A vault that is away: what has not begun can still be put on hold, and waits for the next pass.
                    if isinstance(error, Unavailable) and row.status is ErasureStatus.APPROVED:
                        return done
            if len(rows) < self._at_once:
                return done
            after = rows[-1]

    async def _carried_out(self, tenant: str, row: ErasureRow) -> bool:
        if not await self._start(tenant, row):
            return False
        async with self._db.transaction(tenant) as conn:
            scopes = await scopes_of(conn, tenant, row.case_id)
            order = await order_of(conn, tenant, row)
        for scope in scopes:
            await self._eraser.destroy(tenant, scope, row.classes, order)
        await self._finish(tenant, row, len(scopes))
        log.info("erasure.done", tenant=tenant, case=row.case_id, erasure=row.id, scopes=len(scopes))
        return True

    async def _start(self, tenant: str, row: ErasureRow) -> bool:
        async with (
            self._db.transaction(tenant) as conn,
            change_case(conn, tenant, row.case_id, now=self._clock()) as change,
        ):
            return await start_erasure(change, row.id)

    async def _finish(self, tenant: str, row: ErasureRow, scopes: int) -> None:
        async with (
            self._db.transaction(tenant) as conn,
            change_case(conn, tenant, row.case_id, now=self._clock()) as change,
        ):
            await finish_erasure(change, row.id, scopes)


class WithoutCase:
    """Erases what belongs to no case: uploads that the relay removed, and what the ministry's periods are over for
    (store/scope_erasures.py). `db` connects as diwan_worker; days stand still as those of `Proposals` do.
    """

    def __init__(self, db: Database, eraser: Eraser, watch: ClockWatch, *, at_once: int = _AT_ONCE) -> None:
        self._db = db
        self._eraser = eraser
        self._watch = watch
        self._at_once = at_once

    async def pass_once(self) -> int:
        """Looks once through every ministry. Returns of how many scopes the keys were destroyed."""
        return await over_all(self._db, self._of_tenant)

    async def _of_tenant(self, tenant: str) -> int:
        async with self._db.transaction(tenant) as conn:
            now, standing = await self._watch.read(conn, tenant)
            kept = await kept_without_case(conn, tenant)
        basis = {ScopeRule.PUT_AWAY: kept.put_away.legal_basis, ScopeRule.SEARCHES: kept.searches.legal_basis}
        done = 0
        async for each in self._over(tenant, kept, standing.legal(now)):
            try:
                if each.started_at is None:
                    await self._begin(tenant, each, basis.get(each.rule, ""), now)
                done += await self._destroyed(tenant, each, now)
            except Exception as error:  # whatever is wrong with it, the others have their turn
                log.error("erasure.scope_failed", tenant=tenant, scope=each.scope, error=_name(error))
                if isinstance(error, Unavailable):  # a vault that is away: what has not begun waits for the next pass
                    break
        if done:
            log.info("erasure.scopes_done", tenant=tenant, count=done)
        return done

    async def _over(self, tenant: str, kept: KeptWithoutCase, legal: datetime) -> AsyncGenerator[ScopeErasure]:
        """What is begun, or noted, first; each once, a page of them in memory."""
        for read in (scope_erasures.under_way, partial(scope_erasures.put_away_over, kept=kept.put_away, now=legal)):
            after = ""
            while True:
                async with self._db.transaction(tenant, snapshot=True) as conn:
                    rows = await read(conn, tenant, after=after, limit=self._at_once)
                for each in rows:
                    yield each
                if len(rows) < self._at_once:
                    break
                after = rows[-1].scope
        async with self._db.transaction(tenant, snapshot=True) as conn:
            months = await scope_erasures.searches_over(conn, tenant, kept.searches, legal)
        for each in months:
            yield each

    async def _begin(self, tenant: str, each: ScopeErasure, basis: str, now: datetime) -> None:
        async with self._db.transaction(tenant) as conn:
            await scope_erasures.begin(conn, tenant, each, legal_basis=basis, now=now)

    async def _destroyed(self, tenant: str, each: ScopeErasure, now: datetime) -> bool:
        async with self._db.transaction(tenant, snapshot=True) as conn:
            scopes = await scope_erasures.scopes_without_case(conn, tenant, each.scope)
            order = await scope_erasures.order_of_scope(conn, tenant, each.scope)
        for scope in scopes:
            await self._eraser.destroy(tenant, scope, [*RetentionClass], order)
        async with self._db.transaction(tenant) as conn:
            return await scope_erasures.finish(conn, tenant, each, scopes, now=now)
