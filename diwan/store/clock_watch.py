"""The watch on the clock: where it may not be trusted, a ministry's legal dates stand still until a person confirms.

One row a ministry says what its clocks said last and whether its dates stand still. Whoever stamps events or lets
dates fall looks first (`ClockWatch.look`), and the case worker looks each minute for all. A plain read while all is
well; where it is not, the row is locked, after any case's row, and the freeze is an entry on a chain of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row, func, select, update

from diwan.domain.actor import Actor, system
from diwan.domain.clock import Anchor, Finding, Jump, Reading, Tolerance, Why, jump_of
from diwan.domain.errors import Conflict, InvalidInput
from diwan.domain.ports import Cipher
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.tables import case_file, clock_watch

log = structlog.get_logger()

CHAIN = "clock/watch"  # its entries, and the scope of the key that seals why a person confirmed
CLOCK_UNSURE = "clock_unsure"  # flag of a case in which something was stamped while its dates stood still
_FRESH = timedelta(minutes=1)
_BOOTS = 16  # machines and starts remembered


@dataclass(frozen=True, slots=True)
class Standing:
    """`frozen_at`: since when dates stand still, by the clock that is not trusted; None: they do not.

    `stands_at`: the last trusted instant: dates before it may still fall. `why` and `off` as in `Jump`.
    """

    frozen_at: datetime | None = None
    stands_at: datetime | None = None
    why: str = ""
    off: timedelta = timedelta(0)

    @property
    def frozen(self) -> bool:
        return self.frozen_at is not None

    def legal(self, at: datetime) -> datetime:
        """The instant up to which dates may fall where the clock says `at`."""
        return at if self.stands_at is None else min(at, self.stands_at)


class ClockWatch:
    """`read` gives both clocks of this machine; `part` names the process on the record."""

    def __init__(self, read: Callable[[], Reading], tolerance: Tolerance, *, part: str) -> None:
        self._read = read
        self._tolerance = tolerance
        self._part = part

    async def look(self, conn: Connection, tenant: str) -> Standing:
        """Compares this machine's clocks with what was seen before, within a transaction of the tenant."""
        return (await self.read(conn, tenant))[1]

    async def read(self, conn: Connection, tenant: str) -> tuple[datetime, Standing]:
        """As `look`, with the time that was looked at."""
        row = await _row(conn, tenant)
        reading = self._read()
        if row is not None and row.frozen_at is None and self._says_more(row, reading):
            row = await _row(conn, tenant, lock=True)
            if row is not None and row.frozen_at is None:
                return reading.wall, await self._note(conn, tenant, row, reading)
        return reading.wall, _standing(row)

    async def confirm(
        self, conn: Connection, actor: Actor, finding: Finding, since: datetime, reason: str, cipher: Cipher
    ) -> None:
        """A person has looked: dates fall again from now on, those that were due meanwhile first. On the ledger.

        `since` is the `frozen_at` that the person was shown; `cipher` is of the scope `CHAIN`. Raises `Conflict` where
        dates do not stand still since then, or the clock is said to be corrected and this machine's is not.
        """
        if not reason.strip():
            raise InvalidInput("clock.reason_required", "To confirm the clock needs a reason.", "Give `reason`.")
        row = await _row(conn, actor.tenant, lock=True)
        standing, reading = _standing(row), self._read()
        if row is None or standing.frozen_at is None or standing.frozen_at != since:
            raise Conflict("clock.changed", "Legal dates do not stand still since then.", "See: diwan clock show")
        jump = jump_of(reading, _anchors(row), None, self._tolerance)
        if finding is Finding.CORRECTED and jump is not None:
            raise Conflict(
                "clock.not_corrected",
                f"The clock of the service is still {jump.off.total_seconds():+.0f} s off.",
                "Set it, or confirm that it is right now.",
            )
        # Set back where it jumped: what each machine was anchored to still holds, and shows one that was forgotten.
        back = finding is Finding.CORRECTED and standing.why in (Why.FORWARD, Why.BACKWARD)
        anchors = dict(row.anchors) if back else {}
        anchors.setdefault(reading.boot, _stored(reading))
        await _write(conn, actor.tenant, Standing(), anchors, reading.wall)
        await append_entry(
            *(conn, actor.tenant, CHAIN, "clock:jump:confirmed", actor),
            now=reading.wall,
            cipher=cipher,
            body={"reason": reason},
            detail={"finding": finding.value, **_said(standing)},
        )
        log.warning("clock.confirmed", tenant=actor.tenant, finding=finding.value)

    def _jump(self, row: Row[Any], reading: Reading) -> Jump | None:
        return jump_of(reading, _anchors(row), row.seen_at, self._tolerance)

    def _says_more(self, row: Row[Any], reading: Reading) -> bool:
        stale = reading.boot not in row.anchors or row.seen_at is None or reading.wall - row.seen_at > _FRESH
        return stale or self._jump(row, reading) is not None

    async def _note(self, conn: Connection, tenant: str, row: Row[Any], reading: Reading) -> Standing:
        jump = self._jump(row, reading)
        if jump is None:
            anchors = {reading.boot: _stored(reading), **row.anchors}
            newest = sorted(anchors.items(), key=lambda each: each[1][0], reverse=True)[:_BOOTS]
            await _write(conn, tenant, Standing(), dict(newest), max(row.seen_at or reading.wall, reading.wall))
            return Standing()
        # The earlier of the two: which of them is right is what a person has to say.
        stands_at = min(row.seen_at or reading.wall, reading.wall)
        standing = Standing(reading.wall, stands_at, jump.why.value, jump.off)
        await _write(conn, tenant, standing, row.anchors, row.seen_at)
        await append_entry(
            *(conn, tenant, CHAIN, "clock:jump:noticed", system(tenant, self._part)),
            now=reading.wall,
            detail=_said(standing),
        )
        log.error("clock.jumped", tenant=tenant, why=jump.why.value, off_s=round(jump.off.total_seconds()))
        return standing


def _anchors(row: Row[Any]) -> dict[str, Anchor]:
    return {boot: Anchor(datetime.fromisoformat(wall), up_s) for boot, (wall, up_s) in row.anchors.items()}


def _stored(reading: Reading) -> list[Any]:
    return [reading.wall.isoformat(), reading.up_s]


def _said(standing: Standing) -> dict[str, str | int]:
    assert standing.frozen_at is not None
    assert standing.stands_at is not None
    return {
        "why": standing.why,
        "off_s": round(standing.off.total_seconds()),
        "frozen_at": standing.frozen_at.isoformat(),
        "stands_at": standing.stands_at.isoformat(),
    }


def _standing(row: Row[Any] | None) -> Standing:
    if row is None:  # no such ministry: it has no dates
        return Standing()
    return Standing(row.frozen_at, row.stands_at, row.reason, timedelta(seconds=row.off_s))


async def _row(conn: Connection, tenant: str, *, lock: bool = False) -> Row[Any] | None:
    wanted = select(clock_watch).where(clock_watch.c.tenant == tenant)
    return (await conn.execute(wanted.with_for_update() if lock else wanted)).one_or_none()


async def _write(
    conn: Connection, tenant: str, standing: Standing, anchors: dict[str, Any], seen_at: datetime | None
) -> None:
    await conn.execute(
        update(clock_watch)
        .where(clock_watch.c.tenant == tenant)
        .values(
            seen_at=seen_at,
            anchors=anchors,
            frozen_at=standing.frozen_at,
            stands_at=standing.stands_at,
            reason=standing.why,
            off_s=round(standing.off.total_seconds()),
        )
    )


# --- for those who only ask -----------------------------------------------------------------------------------------


async def standing(conn: Connection, tenant: str) -> Standing:
    """Whether the tenant's dates stand still, as last noticed."""
    return _standing(await _row(conn, tenant))


async def mark_unsure(change: Change) -> None:
    """What is stamped while dates stand still is stamped as ever; the case says so, for a person to look at."""
    if CLOCK_UNSURE not in change.state.flags and (await standing(change.conn, change.case.tenant)).frozen:
        change.state.flags.append(CLOCK_UNSURE)


async def unsure_cases(conn: Connection, tenant: str, *, limit: int = 100) -> list[str]:
    """Numbers of cases that are flagged `CLOCK_UNSURE`, those changed last first."""
    flagged = case_file.c.state["flags"].contains([CLOCK_UNSURE])
    found = await conn.execute(
        select(case_file.c.number)
        .where(case_file.c.tenant == tenant, flagged)
        .order_by(case_file.c.changed_at.desc().nulls_last())
        .limit(limit)
    )
    return list(found.scalars())


async def frozen_ministries(conn: Connection) -> int:
    """How many ministries' dates stand still, of those that the role sees: all, for the relay and the case worker."""
    found = await conn.execute(select(func.count(clock_watch.c.tenant)).where(clock_watch.c.frozen_at.is_not(None)))
    return found.scalar_one()


async def watch_all(db: Database, watch: ClockWatch) -> int:
    """Looks for every ministry; 0, there is no more to do at once. `db` is the case worker's, who sees all of them."""
    async with db.transaction(None) as conn:
        tenants = (await conn.execute(select(clock_watch.c.tenant).order_by(clock_watch.c.tenant))).scalars().all()
    for tenant in tenants:
        async with db.transaction(tenant) as conn:
            await watch.look(conn, tenant)
    return 0
