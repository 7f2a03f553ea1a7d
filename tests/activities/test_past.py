"""A case as it was known: replayed, each moment of its life shows what was shown then, nothing of what came later."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from diwan.domain.errors import NotFound, Tampered
from diwan.domain.event import NOTIFICATION_RECEIVED, PIECES_SUPPLIED
from diwan.domain.task import TaskAct
from diwan.store.cases import find_case
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.decisions import decision_of
from diwan.store.documents import documents_of
from diwan.store.entries import entries_of
from diwan.store.facts import current_facts
from diwan.store.letters import letters_of
from diwan.store.notifications import notifications_of
from diwan.store.parties import parties_of
from diwan.store.past import CaseThen, case_then
from diwan.store.proposals import latest_proposal
from diwan.store.tasks import tasks_of
from tests.activities.office import PIECES, Office
from tests.support.factories import AUTHORITY, CLERK, SUPERVISOR, TENANT
from tests.support.keyring import MemoryKeyring

Seen = dict[str, Any]
_OF_NOW = {"head": b"", "changed_at": None}  # of the row itself, not of what is known


async def as_shown(conn: Connection, office: Office, case: str) -> Seen | None:
    """What the service shows of a case now, by the reads that every view is made of."""
    row = await find_case(conn, TENANT, case)
    if row is None:
        return None
    cipher, of_case = await office.keyring.cipher(TENANT, case), (TENANT, case)
    try:
        proposal = await latest_proposal(conn, *of_case, cipher)
    except NotFound:
        proposal = None
    return {
        "case": asdict(replace(row, **_OF_NOW)),
        "parties": await parties_of(conn, *of_case, cipher),
        "documents": await documents_of(conn, *of_case, cipher),
        "facts": await current_facts(conn, *of_case, cipher),
        "proposal": proposal,
        "tasks": [replace(task, shown_sealed=b"") for task in await tasks_of(conn, *of_case)],
        "decision": await decision_of(conn, *of_case, cipher),
        "letters": await letters_of(conn, *of_case, cipher),
        "notifications": await notifications_of(conn, *of_case),
    }


def as_known(then: CaseThen) -> Seen:
    tasks = [replace(task, shown_sealed=b"") for task in then.tasks]
    return {
        **{name: getattr(then, name) for name in ("parties", "documents", "facts", "proposal", "decision", "letters")},
        **{"case": asdict(replace(then.case, **_OF_NOW)), "tasks": tasks, "notifications": then.notifications},
    }


@pytest.fixture(scope="module")
def keyring() -> MemoryKeyring:
    """One for all cases of the module: they are looked at together."""
    return MemoryKeyring()


class Witness:
    """Looks at the cases of an office after every commit, and remembers what was shown at each version."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.seen: dict[str, dict[int, Seen]] = {}
        self._looking = False

    async def look(self) -> None:
        if self._looking:
            return
        self._looking = True
        try:
            async with self.office.worker.transaction(TENANT) as conn:
                for (case,) in self.office.stored("select id from case_file"):
                    shown = await as_shown(conn, self.office, str(case))
                    if shown is not None:
                        self.seen.setdefault(str(case), {})[shown["case"]["version"]] = shown
        finally:
            self._looking = False


@pytest.fixture
def witness(office: Office, monkeypatch: pytest.MonkeyPatch) -> Witness:
    made = Witness(office)
    begin = Database.transaction

    @asynccontextmanager
    async def watched(db: Database, tenant: str | None, *, snapshot: bool = False) -> AsyncGenerator[Connection]:
        async with begin(db, tenant, snapshot=snapshot) as conn:
            yield conn
        office.clock.now += timedelta(seconds=1)
        await made.look()

    monkeypatch.setattr(Database, "transaction", watched)
    return made


async def granted(office: Office) -> str:
    """Examined, given back, examined anew, edited, approved by another, signed, and the letter received."""
    case = await office.reviewed("past-granted")
    await office.act(CLERK, case, TaskAct.CLAIM)
    await office.act(CLERK, case, TaskAct.RETURN, reason="Read it again.")
    await office.drain(case)
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.EDIT, reason="The promise says so.", changes={"price": 300_000})
    await office.act(SUPERVISOR, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.perform(await office.here(case))
    (*_, letter) = await office.letters(case)
    await office.tell(case, NOTIFICATION_RECEIVED, letter=letter.id, proof="signed for")
    await office.drain(case)
    return case


async def asked(office: Office) -> str:
    """A piece is missing, asked for, supplied."""
    case = await office.open("past-asked", dict(list(PIECES.items())[1:]))
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.perform(await office.here(case))
    await office.tell(case, PIECES_SUPPLIED, dict(list(PIECES.items())[:1]), note="here it is")
    await office.drain(case)
    return case


@pytest.mark.parametrize("life", [granted, asked], ids=lambda life: life.__name__)
async def test_each_moment_shows_what_was_shown_then(office: Office, witness: Witness, life: Any) -> None:
    case = await life(office)
    cipher = await office.keyring.cipher(TENANT, case)
    async with office.web.transaction(TENANT) as conn:
        row = await find_case(conn, TENANT, case)
        assert row is not None
        entries = await entries_of(conn, TENANT, case)
        seen = witness.seen[case]
        assert set(seen) == {entry.seq for entry in entries}
        assert len({str(each) for each in seen.values()}) > 8, "it has a life"
        for entry in entries:
            then = await case_then(conn, row, cipher, entry=entry.seq)
            assert as_known(then) == seen[entry.seq], (entry.seq, entry.kind)
            at = max(other.seq for other in entries if other.at <= entry.at)
            assert as_known(await case_then(conn, row, cipher, at=entry.at)) == seen[at]
            before = entry.at - timedelta(microseconds=1)
            if entry.seq == 1:
                with pytest.raises(NotFound) as caught:
                    await case_then(conn, row, cipher, at=before)
                assert caught.value.code == "case.unknown_then"
            assert all(known.since <= entry.seq and known.at <= entry.at for known in then.known.values())


async def test_a_past_that_somebody_changed_is_not_shown(office: Office) -> None:
    case = await office.reviewed("past-tampered")
    cipher = await office.keyring.cipher(TENANT, case)
    change = (
        "update case_past set was = was || '{\"status\": \"closed\"}' where case_id = %s and relation = 'case_file'"
    )
    with office.database.superuser() as connection:
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute(change, [case])
        connection.execute("set session_replication_role = replica")
        connection.execute(change, [case])
    async with office.web.transaction(TENANT) as conn:
        row = await find_case(conn, TENANT, case)
        assert row is not None
        with pytest.raises(Tampered) as caught:
            await case_then(conn, row, cipher, entry=row.version)
    assert caught.value.code == "case.past_differs"


async def test_what_was_before_it_was_kept_is_said_to_be_so(office: Office) -> None:
    case = await office.open("past-not-kept")
    cipher = await office.keyring.cipher(TENANT, case)
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from case_past where case_id = %s", [case])
    async with office.web.transaction(TENANT) as conn:
        row = await find_case(conn, TENANT, case)
        assert row is not None
        with pytest.raises(NotFound) as caught:
            await case_then(conn, row, cipher, entry=1)
        assert caught.value.code == "case.past_not_kept"
        with pytest.raises(NotFound):
            await case_then(conn, row, cipher, entry=99)
