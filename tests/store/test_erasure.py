"""Erasing a case's data: who may ask and approve, what stops it, what a crash leaves, what is gone and what stays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from diwan.domain.actor import Actor
from diwan.domain.erasure import LONGEST_BASIS, ErasureStatus, Ground, Hindrance
from diwan.domain.errors import Conflict, DiwanError, Erased, InvalidInput, NeedsPerson, NotFound, Refused, Unavailable
from diwan.domain.event import PIECES_SUPPLIED, DocumentRef, FollowUp
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.task import TaskAct
from diwan.erasing import Erasures, Proposals
from diwan.procedures.parts import Keep, Retention
from diwan.procedures.periods import calendar_of
from diwan.procedures.schema import Procedure
from diwan.store import documents, parties, retention, tasks
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.destroying import scopes_of
from diwan.store.entries import entries_of
from diwan.store.erasure_lists import to_carry_out
from diwan.store.erasures import (
    ErasureRow,
    Wanted,
    approve_erasure,
    ask_erasure,
    decline_erasure,
    erasures_of,
    hindrances,
)
from diwan.store.holds import lift_hold, place_hold
from diwan.store.intake import accept_event
from diwan.store.procedures import procedure_of
from tests.procedures.support import sample
from tests.store.whole_case import drain, whole_case
from tests.support.clocks import Machine, forget, watch_on
from tests.support.databases import TestDatabase
from tests.support.factories import AUTHORITY, CLERK, SUPERVISOR, TENANT, a_document, envelope, sender
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

ALL = tuple(RetentionClass)
LATER = datetime(2037, 1, 4, 12, 0, tzinfo=UTC)
BASIS = "Loi n° 00-26, article 30"

Made = Callable[..., Awaitable[str]]


@pytest.fixture
def closed(web: Database, worker: Database, pool: Database, keyring: MemoryKeyring, now: datetime) -> Made:
    """A decided case that nothing waits for any more. The erasure that `whole_case` asked for is declined."""

    async def made(reference: str, *, declined: bool = True) -> str:
        case = await whole_case(web, worker, pool, keyring, reference, secret=f"SECRET-{reference}", now=now)
        await drain(worker, case, now)
        if declined:
            (first,) = await of(web, case)
            cipher = await keyring.cipher(TENANT, case)
            async with web.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
                await decline_erasure(change, cipher, AUTHORITY, first.id, "Not now.")
        return case

    return made


async def of(db: Database, case: str) -> list[ErasureRow]:
    async with db.transaction(TENANT) as conn:
        return await erasures_of(conn, TENANT, case)


class Desk:
    """What people do about a case's erasure."""

    def __init__(self, web: Database, keyring: MemoryKeyring, now: datetime) -> None:
        self._web, self._keyring, self._now = web, keyring, now + timedelta(minutes=1)

    async def ask(self, case: str, actor: Actor = SUPERVISOR, classes: Collection[RetentionClass] = ALL) -> ErasureRow:
        return await self._do(case, ask_erasure, actor, Wanted(classes, Ground.REQUEST, BASIS, reason="She asks."))

    async def approve(self, case: str, id_: str, actor: Actor = AUTHORITY) -> ErasureRow:
        return await self._do(case, approve_erasure, actor, id_)

    async def hold(self, case: str, actor: Actor = AUTHORITY) -> str:
        return (await self._do(case, place_hold, actor, "Before the court.")).id

    async def lift(self, case: str, hold: str) -> None:
        await self._do(case, lift_hold, AUTHORITY, hold, "It is decided.")

    async def approved(self, case: str, classes: Collection[RetentionClass] = ALL) -> ErasureRow:
        return await self.approve(case, (await self.ask(case, classes=classes)).id)

    async def _do(self, case: str, act: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        cipher = await self._keyring.cipher(TENANT, case)
        async with (
            self._web.transaction(TENANT) as conn,
            change_case(conn, TENANT, case, now=self._now) as change,
        ):
            return await act(change, cipher, *given)


@pytest.fixture
def desk(web: Database, keyring: MemoryKeyring, now: datetime) -> Desk:
    return Desk(web, keyring, now)


@pytest.fixture
def erasures(worker: Database, keyring: MemoryKeyring, now: datetime) -> Erasures:
    return Erasures(worker, keyring, lambda: now)


async def kinds(db: Database, case: str) -> list[str]:
    async with db.transaction(TENANT) as conn:
        return [entry.kind for entry in await entries_of(conn, TENANT, case)]


async def raised(doing: Awaitable[object]) -> tuple[type[DiwanError], str]:
    with pytest.raises(DiwanError) as error:
        await doing
    return type(error.value), error.value.code


# --- asked for, approved ----------------------------------------------------------------------------------------------


async def test_one_asks_another_approves_and_the_keys_go(
    closed: Made, desk: Desk, erasures: Erasures, web: Database, keyring: MemoryKeyring, demo: TestDatabase
) -> None:
    case = await closed("whole-way")
    asked = await desk.ask(case)
    assert (await desk.ask(case)).id == asked.id, "asked again by the same person: the same"
    assert await raised(desk.approve(case, asked.id, SUPERVISOR)) == (Refused, "erasure.four_eyes")
    assert await raised(desk.ask(case, AUTHORITY)) == (Conflict, "erasure.under_way")
    assert await erasures.pass_once() == 0, "nobody has approved it"

    approved = await desk.approve(case, asked.id)
    assert (await desk.approve(case, asked.id)).status is approved.status is ErasureStatus.APPROVED
    assert await erasures.pass_once() == 1
    assert await erasures.pass_once() == 0

    done = (await of(web, case))[-1]
    assert (done.status, done.asked_by, done.decided_by) == ("done", SUPERVISOR.subject, AUTHORITY.subject)
    story = ["case:erasure:asked", "case:erasure:approved", "case:erasure:started", "case:keys:destroyed"]
    assert (await kinds(web, case))[-4:] == story
    assert set(keyring.destroyed[TENANT, case]) == set(RetentionClass)
    async with web.transaction(TENANT) as conn:
        started = (await entries_of(conn, TENANT, case))[-2]
    assert {keyring.orders[TENANT, case, each] for each in ALL} == {started.hash.hex()}
    cipher = await keyring.cipher(TENANT, case)
    async with web.transaction(TENANT) as conn:
        with pytest.raises(NotFound):
            await parties.parties_of(conn, TENANT, case, cipher)
    with demo.superuser() as connection:
        tokens = connection.execute("select name_token, identity_token from party where case_id = %s", [case])
        assert tokens.fetchall() == [("", "")]
    assert await raised(desk.ask(case)) == (Erased, "erasure.done_before")
    assert (await raised(desk.hold(case)))[0] is Erased


async def test_a_class_alone_leaves_the_others(
    closed: Made, desk: Desk, erasures: Erasures, web: Database, keyring: MemoryKeyring
) -> None:
    case = await closed("exchange")
    wrong = desk.ask(case, classes=[RetentionClass.DECISION])
    assert await raised(wrong) == (InvalidInput, "erasure.decision_last")
    await desk.approved(case, [RetentionClass.EXCHANGE])
    assert await erasures.pass_once() == 1
    cipher = await keyring.cipher(TENANT, case)
    async with web.transaction(TENANT) as conn:
        assert len(await parties.parties_of(conn, TENANT, case, cipher)) == 1
        assert len(await documents.documents_of(conn, TENANT, case, cipher)) == 1
        found = await parties.name_token(keyring, TENANT, "Zineb SECRET-exchange")
        rows = await conn.execute(_BY_TOKEN, {"token": found})
        assert list(rows.scalars()) == [case], "while the decision is kept, she is found by her name"
    await desk.approved(case, [RetentionClass.EVIDENCE, RetentionClass.DECISION])
    assert await erasures.pass_once() == 1
    async with web.transaction(TENANT) as conn:
        assert list((await conn.execute(_BY_TOKEN, {"token": found})).scalars()) == []


async def test_an_open_case_is_not_erased_nor_one_that_something_waits_for(
    open_case: Made, closed: Made, desk: Desk, erasures: Erasures, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    assert await raised(desk.ask(await open_case("still-open"))) == (Conflict, "erasure.hindered_open")
    case = await closed("waited-for")
    asked = await desk.ask(case)
    late = envelope("late-1", type_=PIECES_SUPPLIED, subject=case)
    await accept_event(web, keyring, late, FollowUp(note="More."), [], client=sender(), now=now)
    assert await raised(desk.approve(case, asked.id)) == (Conflict, "erasure.hindered_inbox")


# --- legal hold -------------------------------------------------------------------------------------------------------


async def test_a_hold_stops_it_and_what_was_approved_is_approved_anew(
    closed: Made, desk: Desk, erasures: Erasures, web: Database
) -> None:
    case = await closed("held")
    approved = await desk.approved(case)
    hold = await desk.hold(case)
    assert await desk.hold(case) == hold
    assert (await of(web, case))[-1].status is ErasureStatus.ASKED
    assert await erasures.pass_once() == 0
    assert await raised(desk.approve(case, approved.id)) == (Conflict, "erasure.hindered_hold")
    await desk.lift(case, hold)
    assert await erasures.pass_once() == 0, "nobody has approved it since"
    await desk.approve(case, approved.id)
    assert await erasures.pass_once() == 1
    assert [kind for kind in await kinds(web, case) if ":hold:" in kind][-2:] == [
        "case:hold:placed",
        "case:hold:lifted",
    ]


def test_the_database_lets_nothing_begin_under_a_hold_nor_without_a_second_person(
    demo: TestDatabase, whole: str
) -> None:
    """Past all code of ours, as the superuser."""
    cases: dict[str, tuple[LiteralString, ...]] = {
        "a legal hold is on the case": (
            "update legal_hold set lifted_at = null, lifted_by = '', lifted_because_sealed = null where case_id = {0}",
            "update erasure set status = 'approved', decided_by = 'x', decided_at = now() where case_id = {0}",
            "update erasure set status = 'started', started_at = now() where case_id = {0}",
        ),
        "erasure_four_eyes": (
            "update erasure set status = 'approved', decided_by = asked_by, decided_at = now() where case_id = {0}",
        ),
        "started does not follow asked": (
            "update erasure set status = 'started', started_at = now(), decided_by = 'x', decided_at = now() "
            "where case_id = {0}",
        ),
        "are being destroyed": (
            "update erasure set status = 'approved', decided_by = 'x', decided_at = now() where case_id = {0}",
            "update erasure set status = 'started', started_at = now() where case_id = {0}",
            "insert into legal_hold (tenant, id, case_id, reason_sealed, placed_by, placed_at) "
            "values ('demo', 'late', {0}, '', 'x', now())",
        ),
        "no erasure of this case is being carried out": ("select diwan_forget_parties('demo', {0})",),
        "it begins as asked for": (
            "insert into erasure select (jsonb_populate_record(e, jsonb_build_object('id', 'made-up', "
            "'status', 'started', 'decided_by', 'x', 'decided_at', now(), 'started_at', now()))).* "
            "from erasure e where case_id = {0} and status = 'asked'",
        ),
        "what is asked for stays": ("update erasure set classes = array['exchange'] where case_id = {0}",),
    }
    for why, statements in cases.items():
        with demo.superuser() as connection, connection.transaction(force_rollback=True):
            *before, last = (sql.SQL(each).format(sql.Literal(whole)) for each in statements)
            connection.execute("set constraints all deferred")
            for statement in before:
                connection.execute(statement)
            with pytest.raises(psycopg.errors.IntegrityError, match=why):
                connection.execute(last)


# --- crashes ----------------------------------------------------------------------------------------------------------


class Dying:
    """A vault that dies before, or after, the first key is destroyed."""

    def __init__(self, keyring: MemoryKeyring, *, after: bool) -> None:
        self._keyring, self._after = keyring, after

    async def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str
    ) -> Mapping[RetentionClass, datetime]:
        if self._after:
            await self._keyring.destroy(tenant, scope, classes, order)
        raise Unavailable("vault.unavailable", "The vault does not answer.", "Try again.")


@pytest.mark.parametrize("after", [False, True])
async def test_whoever_looks_next_goes_on_with_what_a_crash_left(
    after: bool, closed: Made, desk: Desk, worker: Database, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    case = await closed(f"crash-{after}")
    row = await desk.approved(case)
    dying = Erasures(worker, Dying(keyring, after=after), lambda: now)
    assert await dying.pass_once() == 0
    assert (await of(web, case))[-1].status is ErasureStatus.STARTED
    if not after:  # with the key, what would be sealed is gone, too
        assert await raised(desk.hold(case)) == (Conflict, "hold.too_late")
    assert await Erasures(worker, keyring, lambda: now).pass_once() == 1
    assert [kind for kind in await kinds(web, case) if kind.startswith(("case:erasure:st", "case:keys"))] == [
        *("case:erasure:started", "case:keys:destroyed")
    ]
    assert (await of(web, case))[-1].status is ErasureStatus.DONE
    assert row.id == (await of(web, case))[-1].id


class Refusing:
    """A vault that does nothing for some cases, for ever."""

    def __init__(self, keyring: MemoryKeyring, cases: Collection[str], error: Exception) -> None:
        self._keyring, self._cases, self._error = keyring, cases, error
        self.asked: list[str] = []

    async def cipher(self, tenant: str, scope: str) -> Cipher:
        self._refuse(scope)
        return await self._keyring.cipher(tenant, scope)

    async def token(self, tenant: str, purpose: str, value: str) -> str:
        return await self._keyring.token(tenant, purpose, value)

    async def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str
    ) -> Mapping[RetentionClass, datetime]:
        self.asked.append(scope)
        self._refuse(scope)
        return await self._keyring.destroy(tenant, scope, classes, order)

    def _refuse(self, scope: str) -> None:
        if scope in self._cases:
            raise self._error


async def test_more_that_fail_than_are_looked_at_at_once_keep_no_other_from_its_turn(
    closed: Made, desk: Desk, worker: Database, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    approved = [await desk.approved(await closed(f"crowd-{n}")) for n in range(3)]  # all in the same second
    *refused, last = [row.case_id for row in sorted(approved, key=lambda row: row.id)]
    vault = Refusing(keyring, refused, ValueError("an answer that no vault gives"))
    assert await Erasures(worker, vault, lambda: now, at_once=1).pass_once() == 1
    assert await Erasures(worker, vault, lambda: now, at_once=1).pass_once() == 0
    assert [(await of(web, case))[-1].status.value for case in (*refused, last)] == ["started", "started", "done"]
    assert [vault.asked.count(case) for case in refused] == [2, 2], "each once a pass"
    assert await Erasures(worker, keyring, lambda: now, at_once=1).pass_once() == 2, "the vault is well again"


async def test_while_the_vault_is_away_no_more_than_one_begins_in_a_pass(
    closed: Made, desk: Desk, worker: Database, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    """What has not begun can still be put on hold."""
    cases = [await closed(f"away-{n}") for n in range(3)]
    for case in cases:
        await desk.approved(case)
    silent = Unavailable("vault.unavailable", "The vault does not answer.", "Try again.")
    away = Erasures(worker, Refusing(keyring, cases, silent), lambda: now)
    for begun in (1, 2):
        assert await away.pass_once() == 0
        assert [(await of(web, case))[-1].status for case in cases].count(ErasureStatus.STARTED) == begun
    assert await Erasures(worker, keyring, lambda: now).pass_once() == 3


# How each comes about on a case whose erasure is approved, and goes again; a hold takes an approval back, so only past
# our code.
HINDERED: dict[Hindrance, tuple[LiteralString, LiteralString]] = {
    Hindrance.HOLD: (
        "update legal_hold set lifted_at = null, lifted_by = '', lifted_because_sealed = null where case_id = {0}",
        "update legal_hold set lifted_at = now(), lifted_by = 'x', lifted_because_sealed = '' where case_id = {0}",
    ),
    Hindrance.OPEN: (
        "update case_file set status = 'open' where id = {0}",
        "update case_file set status = 'closed' where id = {0}",
    ),
    Hindrance.INBOX: (
        "update case_file set inbox_last = inbox_last + 1 where id = {0}",
        "update case_file set inbox_last = inbox_last - 1 where id = {0}",
    ),
    Hindrance.TASK: (
        "update task set status = 'claimed' where case_id = {0}",
        "update task set status = 'completed' where case_id = {0}",
    ),
    Hindrance.RERUN: (
        "update model_rerun set status = 'asked', ended_at = null where case_id = {0}",
        "update model_rerun set status = 'differs', ended_at = now() where case_id = {0}",
    ),
}


async def test_what_is_hindered_is_not_even_tried(
    closed: Made, desk: Desk, worker: Database, keyring: MemoryKeyring, demo: TestDatabase, now: datetime
) -> None:
    case = await closed("hindered")
    asked = await desk.approved(case)

    def past_our_code(statement: LiteralString) -> None:
        with demo.superuser() as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(sql.SQL(statement).format(sql.Literal(case)))

    async def stands() -> tuple[list[Hindrance], list[str]]:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
            found = await hindrances(change)
            change.unchanged()
            return found, [row.id for row in await to_carry_out(conn, TENANT, limit=1)]

    assert set(HINDERED) == set(Hindrance)
    for hindrance, (comes, goes) in HINDERED.items():
        assert await stands() == ([], [asked.id])
        past_our_code(comes)
        assert await stands() == ([hindrance], []), hindrance
        past_our_code(goes)
    assert await Erasures(worker, keyring, lambda: now).pass_once() == 1


# --- what came before the case was known, and what comes after --------------------------------------------------------


async def test_what_comes_after_it_goes_to_a_person_and_is_not_filed_there(
    closed: Made, desk: Desk, erasures: Erasures, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    case = await closed("comes-after")
    await desk.approved(case)
    await erasures.pass_once()
    late = envelope("after-1", type_=PIECES_SUPPLIED, subject=case)
    taken = await accept_event(web, keyring, late, FollowUp(note="More."), [], client=sender(), now=now)
    assert taken.case_id is None, "a clerk looks at it"
    again = await accept_event(web, keyring, late, FollowUp(note="More."), [], client=sender(), now=now)
    assert (again.case_id, again.duplicate) == (None, True)


async def test_an_event_that_was_on_its_way_meanwhile_is_not_sealed_with_a_key_that_is_gone(
    closed: Made, desk: Desk, erasures: Erasures, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    """Its process looked before, and holds the key in memory."""
    case = await closed("on-its-way")
    await desk.approved(case)

    class Late(MemoryKeyring):
        erased = False

        async def cipher(self, tenant: str, scope: str) -> Any:
            cipher = await keyring.cipher(tenant, scope)
            if scope == case and not self.erased:
                self.erased = True
                await erasures.pass_once()
            return cipher

        async def token(self, tenant: str, purpose: str, value: str) -> str:
            return await keyring.token(tenant, purpose, value)

    late = envelope("late-2", type_=PIECES_SUPPLIED, subject=case)
    taken = await accept_event(web, Late(), late, FollowUp(note="More."), [], client=sender(), now=now)
    assert taken.case_id is None


async def test_what_a_restored_database_has_forgotten_is_erased_again(
    closed: Made, desk: Desk, erasures: Erasures, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    """It is older than an erasure, which the vault has: nobody can open anything, and people are in it by token."""
    case = await closed("restored")
    await keyring.destroy(TENANT, case, ALL, "0" * 64)
    late = envelope("late-3", type_=PIECES_SUPPLIED, subject=case)
    taken = await accept_event(web, keyring, late, FollowUp(note="More."), [], client=sender(), now=now)
    assert taken.case_id is None, "a clerk looks at it"
    asked = await desk.ask(case)
    assert (await desk.approve(case, asked.id)).status is ErasureStatus.APPROVED
    assert await erasures.pass_once() == 1
    assert (await of(web, case))[-1].status is ErasureStatus.DONE
    async with web.transaction(TENANT) as conn:
        tokens = text("SELECT DISTINCT name_token, identity_token FROM party WHERE case_id = :case")
        assert (await conn.execute(tokens, {"case": case})).all() == [("", "")]


_BY_TOKEN = text("SELECT case_id FROM party WHERE name_token = :token")


class Hands:
    """What a clock says, as a test sets it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def schedule(demo: TestDatabase, worker: Database, keyring: MemoryKeyring, now: datetime) -> tuple[Proposals, Hands]:
    """The scheduled run, and the clock that it goes by."""
    forget(demo, TENANT)
    clock = Hands(now)
    return Proposals(worker, keyring, watch_on(Machine(clock))), clock


# --- retention --------------------------------------------------------------------------------------------------------


async def test_the_schedule_proposes_what_is_over_and_a_person_approves(
    closed: Made,
    desk: Desk,
    schedule: tuple[Proposals, Hands],
    worker: Database,
    web: Database,
    keyring: MemoryKeyring,
    now: datetime,
) -> None:
    case = await closed("over")
    soon, clock = schedule
    clock.now = now + timedelta(days=729)
    await soon.pass_once()
    assert [row.status for row in await of(web, case)] == ["declined"], "it is kept for two years"
    clock.now = now + timedelta(days=732)
    await soon.pass_once()
    await soon.pass_once()
    (_, proposed) = await of(web, case)
    assert (proposed.classes, proposed.ground, proposed.asked_by) == (
        [RetentionClass.EXCHANGE],
        "retention",
        "retention",
    )
    assert proposed.kept_until == date(2028, 11, 23)
    assert "23" in proposed.legal_basis
    await desk.approve(case, proposed.id)
    clock.now = LATER
    await Erasures(worker, keyring, lambda: LATER).pass_once()
    await soon.pass_once()
    assert (await of(web, case))[-1].classes == [RetentionClass.DECISION, RetentionClass.EVIDENCE]


async def test_what_is_held_or_was_declined_is_not_proposed(
    closed: Made, desk: Desk, schedule: tuple[Proposals, Hands], web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    held, declined = await closed("not-proposed"), await closed("declined")
    hold = await desk.hold(held)
    proposals, clock = schedule
    clock.now = now + timedelta(days=732)
    await proposals.pass_once()
    assert len(await of(web, held)) == 1
    (_, proposed) = await of(web, declined)
    cipher = await keyring.cipher(TENANT, declined)
    async with web.transaction(TENANT) as conn, change_case(conn, TENANT, declined, now=clock.now) as change:
        await decline_erasure(change, cipher, AUTHORITY, proposed.id, "She may still claim.")
    await proposals.pass_once()
    assert len(await of(web, declined)) == 2
    clock.now += retention.ASKED_AGAIN_AFTER + timedelta(days=1)
    await desk.lift(held, hold)
    await proposals.pass_once()
    assert [len(await of(web, case)) for case in (held, declined)] == [2, 3]


async def test_a_text_that_is_too_long_for_an_entry_keeps_no_other_case_from_its_turn(
    closed: Made,
    schedule: tuple[Proposals, Hands],
    web: Database,
    keyring: MemoryKeyring,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = await closed("fails"), await closed("waits-behind")
    wanted_of, texts = retention.wanted_of, iter(["x" * (LONGEST_BASIS + 1)])

    def longer(each: retention.Over, procedure: Procedure) -> Wanted:
        wanted = wanted_of(each, procedure)
        return replace(wanted, legal_basis=next(texts)) if each.case_id == first else wanted

    monkeypatch.setattr(retention, "wanted_of", longer)
    proposals, clock = schedule
    clock.now = now + timedelta(days=732)
    assert await proposals.pass_once() >= 1
    assert [len(await of(web, case)) for case in (first, second)] == [1, 2]


async def test_more_that_cannot_be_proposed_than_are_looked_at_at_once_keep_no_other_from_its_turn(
    closed: Made, schedule: tuple[Proposals, Hands], worker: Database, web: Database, keyring: MemoryKeyring
) -> None:
    *refused, last = sorted([await closed(f"crowded-{n}") for n in range(3)])  # all were closed in the same second
    _, clock = schedule
    clock.now += timedelta(days=732)
    vault = Refusing(keyring, refused, NeedsPerson("vault.unreadable", "It cannot be read.", "See the vault."))
    await Proposals(worker, vault, watch_on(Machine(clock)), at_once=1).pass_once()
    assert [len(await of(web, case)) for case in (*refused, last)] == [1, 1, 2]


async def test_each_case_is_whole_on_one_page_whatever_is_over_of_those_before(
    closed: Made, desk: Desk, erasures: Erasures, worker: Database, now: datetime
) -> None:
    first, second = sorted([await closed("turns-1"), await closed("turns-2")])
    for retention_class in (RetentionClass.EXCHANGE, RetentionClass.EVIDENCE):
        await desk.approved(first, [retention_class])
        await erasures.pass_once()
    async with worker.transaction(TENANT) as conn:
        (hash_,) = await retention.versions_closed(conn, TENANT)
        shipped = await procedure_of(conn, TENANT, hash_)
        assert shipped.retention is not None
        soon = Keep.model_validate({"length": 100, "unit": "days"})
        declared = shipped.retention.model_copy(update={"decision": soon})
        for procedure, at, expected in (
            (shipped, LATER, {first: {RetentionClass.DECISION}, second: set(RetentionClass)}),
            # The decision alone is over, and goes only where it is the last.
            (
                shipped.model_copy(update={"retention": declared}),
                now + timedelta(days=200),
                {first: {RetentionClass.DECISION}},
            ),
        ):
            found: list[retention.Over] = []
            after, pages = None, 0
            while pages == 0 or after is not None:
                page = await retention.over(
                    *(conn, TENANT, hash_, procedure, calendar_of(procedure)), now=at, after=after, limit=1
                )
                found, after, pages = [*found, *page.cases], page.next, pages + 1
            of_both = [(each.case_id, set(each.last_days)) for each in found if each.case_id in (first, second)]
            assert of_both == list(expected.items())
            assert pages > 2


def test_the_texts_of_a_procedure_are_named_whole_as_far_as_an_entry_holds_them() -> None:
    def basis(**lengths: int) -> str:
        kept = {
            name: {"length": 1, "legal_basis": {"ar": name[0] * length, "fr": name[0] * length, "en": "-"}}
            for name, length in lengths.items()
        }
        declared = Retention.model_validate({"decision": {"length": 1}, "exchange": {"length": 1}} | kept)
        procedure = sample().model_copy(update={"retention": declared})
        days = {each: date(2030, 1, 1) for each in RetentionClass}
        return retention.wanted_of(retention.Over("a-case", days), procedure).legal_basis

    assert basis(evidence=200) == "e" * 200
    assert basis(evidence=201) == "e" * 199 + "…", "published before there was a limit"
    assert basis(decision=99, evidence=99) == "d" * 99 + "; " + "e" * 99
    assert basis(decision=99, evidence=100) == "d" * 99


async def test_from_the_notification_where_the_file_says_so(
    closed: Made, demo: TestDatabase, worker: Database, now: datetime
) -> None:
    case = await closed("notified")
    with demo.superuser() as connection:  # the letter came a week after the closing
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update notification set received_at = received_at + interval '7 days' where case_id = %s", [case]
        )
    async with worker.transaction(TENANT) as conn:
        (hash_,) = await retention.versions_closed(conn, TENANT)
        shipped = await procedure_of(conn, TENANT, hash_)
        assert shipped.retention is not None
        for after, days, over in (
            *(("closing", 100, False), ("closing", 101, True)),
            *(("notification", 107, False), ("notification", 108, True)),
        ):
            keep = Keep.model_validate({"length": 100, "unit": "days", "after": after})
            declared = shipped.retention.model_copy(update={"evidence": keep})
            procedure = shipped.model_copy(update={"retention": declared})
            found = await retention.over(
                *(conn, TENANT, hash_, procedure, calendar_of(procedure)), now=now + timedelta(days=days), limit=100
            )
            assert (case in [each.case_id for each in found.cases]) is over, (after, days)


async def test_every_scope_of_a_case_is_known_also_of_an_event_that_a_person_filed_there(
    open_case: Made,
    act: Callable[..., Awaitable[object]],
    web: Database,
    worker: Database,
    keyring: MemoryKeyring,
    now: datetime,
) -> None:
    case = await open_case("scopes")
    data = FollowUp(note="More.", documents=[DocumentRef(name="a.txt", piece="", part="p")])
    stray = envelope("stray-1", type_=PIECES_SUPPLIED, subject="nowhere")
    await accept_event(web, keyring, stray, data, [a_document()], client=sender(), now=now)
    id_ = tasks.task_id_of(TENANT, "stray_event", stray.source, stray.id)
    async with web.transaction(TENANT) as conn:
        task = await tasks.get_task(conn, TENANT, id_)
    await act(CLERK, task, TaskAct.EDIT, reason="Hers.", changes={"case": case})
    async with worker.transaction(TENANT) as conn:
        found = await scopes_of(conn, TENANT, case)
    assert [scope.partition("/")[0] for scope in found] == [case, "staged", "stray"]
    assert found[2] == task.scope
