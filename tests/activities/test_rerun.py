"""A recorded call sent again by a pool worker: the recorded bytes, to what answered it then, compared and on record."""

from __future__ import annotations

import functools
import json
import uuid
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg import sql
from psycopg.rows import args_row
from temporalio.testing import ActivityEnvironment

from activities.model import ModelActivities
from activities.rerun_call import RerunCalls
from activities.reruns import Reruns
from diwan.domain.data import DataClass
from diwan.domain.errors import DiwanError, NotFound, Refused, Retry, Tampered, Unavailable
from diwan.domain.ports import RetentionClass
from diwan.domain.rerun import Known, Outcome
from diwan.embedded.demo_engine.app import MODEL, VERSION
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.embedded.demo_registry import demo_registry
from diwan.pool.engine import EngineClient
from diwan.pool.gate import Gate
from diwan.pool.health import Health
from diwan.pool.perimeter import INSIDE, Perimeter, Way
from diwan.store.call_records import CallRecord, call_records
from diwan.store.change import change_case
from diwan.store.pool_hosts import OUT, SERVING, HostSigns, give_sign
from diwan.store.reruns import RerunRow, ask_rerun, get_rerun, opened_report
from diwan.store.sealing import context
from tests.activities.office import EndlessWire, Office, Wire
from tests.support.factories import AUDITOR, TENANT
from tests.support.wires import TransportWire
from workflows.calls import RerunEnd, RerunPlan, RerunRef

HOST = "audit-host"


@asynccontextmanager
async def engine(
    office: Office, wire: Wire, *, way: Way = INSIDE, invariant: Known = Known.YES, version: str = "", **registered: Any
) -> AsyncGenerator[tuple[RerunCalls, ModelActivities]]:
    """A host's activities: to send calls again, and to send them first."""
    model = demo_registry().model(MODEL).model_copy(update=registered)
    async with EngineClient("http://engine", wire=TransportWire(wire), way=way, max_bytes=1_000_000) as client:
        health = Health(client, MODEL, Gate(8), most=8)
        assert await health.try_again()
        health.version = version or health.version
        wire.sent.clear()
        given = (office.pool, office.keyring, client, model, office.machine.wall)
        named: dict[str, Any] = {"host": HOST, "health": health, "batch_invariant": invariant}
        yield RerunCalls(*given, **named), ModelActivities(*given, **named)


async def answered(office: Office, reference: str, **registered: Any) -> tuple[str, bytes]:
    """A case with one model call on record, and the bytes that were sent."""
    step, run = await office.examining(reference)
    wire = Wire(None)
    async with engine(office, wire, **registered) as (_, model):
        await office.ask(model, step, run, 1, final=False)
    return step.case, wire.sent[0]


async def record_of(office: Office, case: str, number: int = 1) -> CallRecord:
    async with office.web.transaction(TENANT) as conn:
        return (await call_records(conn, TENANT, case))[number - 1]


async def asked(office: Office, case: str) -> RerunRef:
    """As the web does it."""
    record = await record_of(office, case)
    cipher = await office.keyring.cipher(TENANT, case)
    rerun = uuid.uuid4().hex
    now = office.machine.wall()
    async with office.web.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
        await ask_rerun(change, record, AUDITOR, cipher, rerun=rerun, key=rerun)
    return RerunRef(tenant=TENANT, case=case, rerun=rerun)


async def row_of(office: Office, given: RerunRef) -> RerunRow:
    async with office.web.transaction(TENANT) as conn:
        return await get_rerun(conn, TENANT, given.case, given.rerun)


async def sent(calls: RerunCalls, given: RerunRef) -> str:
    return await ActivityEnvironment().run(calls.rerun_call, given)


async def test_the_recorded_bytes_are_sent_and_the_same_answer_is_identical(office: Office) -> None:
    case, first = await answered(office, "again")
    before = await office.row(case)
    given, wire = await asked(office, case), Wire(None)
    async with engine(office, wire) as (calls, _):
        assert await sent(calls, given) == "identical"
    assert wire.sent == [first]
    row = await row_of(office, given)
    assert (row.status, row.asked_by, row.reason) == (Outcome.IDENTICAL, AUDITOR.subject, "")
    assert row.conditions is not None
    assert row.conditions.then == row.conditions.now.model_copy(
        update={"cached_tokens": row.conditions.then.cached_tokens}
    )
    assert row.conditions.then.engine_version == VERSION
    assert (row.conditions.temperature, row.conditions.seed, row.conditions.invariant) == ("0", 1, True)
    # The case stands as it stood, two entries later.
    after = await office.row(case)
    assert (after.state, after.status, after.kind, after.wake_at) == (
        before.state,
        before.status,
        before.kind,
        before.wake_at,
    )
    assert after.version == before.version + 2
    (entry,) = await office.entries(case, "call:rerun:asked")
    header = json.loads(entry.header)
    assert (header["actor"]["subject"], header["detail"]["number"]) == (AUDITOR.subject, 1)
    detail = await office.detail(case, "call:rerun:ended")
    assert (detail["outcome"], detail["asked_by"], detail["weights"]) == ("identical", AUDITOR.subject, "yes")


async def test_another_answer_differs_where_it_does_and_its_words_are_sealed(office: Office) -> None:
    case, _ = await answered(office, "differs")
    given = await asked(office, case)
    async with engine(office, Wire(Failure(Mode.JUNK)), invariant=Known.NO) as (calls, _):
        assert await sent(calls, given) == "differs"
    row = await row_of(office, given)
    cipher = await office.keyring.cipher(TENANT, case)
    report = opened_report(row, cipher)
    assert report is not None
    assert report.first is not None
    assert report.first.part.startswith("message.")
    assert report.first.then[:1] != report.first.now[:1]
    detail = await office.detail(case, "call:rerun:ended")
    assert (detail["outcome"], detail["meaning"]) == ("differs", "differs_proves_nothing")
    ((sealed,),) = office.stored("select response_sealed from model_rerun where id = %s", given.rerun)
    assert isinstance(sealed, bytes)
    place = context("model_rerun.response_sealed", given.rerun)
    assert report.first.now[:10] in cipher.open(RetentionClass.EXCHANGE, place, sealed).decode()
    assert all(
        report.first.now[:10] not in entry.header.decode() for entry in await office.entries(case, "call:rerun:ended")
    )


async def test_an_answer_without_end_differs(office: Office) -> None:
    case, _ = await answered(office, "endless")
    given = await asked(office, case)
    wire = Wire(None)
    async with engine(office, wire) as (calls, _):
        calls._engine._wire = TransportWire(EndlessWire(None))  # pyright: ignore[reportPrivateUsage]
        assert await sent(calls, given) == "differs"
    report = opened_report(await row_of(office, given), await office.keyring.cipher(TENANT, case))
    assert report is not None
    assert report.first is not None
    assert report.first.part == "body"


async def test_it_is_sent_once_whoever_asks_again(office: Office) -> None:
    case, _ = await answered(office, "once")
    given, wire = await asked(office, case), Wire(None)
    async with engine(office, wire) as (calls, _):
        assert await sent(calls, given) == await sent(calls, given) == "identical"
    assert len(wire.sent) == 1
    assert len(await office.entries(case, "call:rerun:ended")) == 1


@pytest.mark.parametrize(
    "other",
    [{"weights_digest": "0" * 64}, {"tokenizer_digest": "0" * 64}, {"version": "another"}],
    ids=["weights", "tokenizer", "version"],
)
async def test_a_host_that_is_not_what_answered_sends_nothing(office: Office, other: dict[str, Any]) -> None:
    case, _ = await answered(office, f"other-{next(iter(other))}", tokenizer_digest="1" * 64)
    given, wire = await asked(office, case), Wire(None)
    registered: dict[str, Any] = {"tokenizer_digest": "1" * 64, **other}
    async with engine(office, wire, **registered) as (calls, _):
        with pytest.raises(Unavailable) as raised:
            await sent(calls, given)
    assert raised.value.code == "rerun.other_engine"
    assert wire.sent == []
    assert (await row_of(office, given)).status is Outcome.ASKED


async def test_what_a_model_may_not_see_today_is_not_sent(office: Office) -> None:
    case, _ = await answered(office, "class")
    given, wire = await asked(office, case), Wire(None)
    async with engine(office, wire, data_classes=frozenset({DataClass.PUBLIC})) as (calls, _):
        with pytest.raises(Refused) as raised:
            await sent(calls, given)
    assert (raised.value.code, wire.sent) == ("engine.data_class", [])
    async with engine(office, wire, way=Way(Perimeter(), outside="https://far.example")) as (calls, _):
        with pytest.raises(Refused) as raised:
            await sent(calls, given)
    assert (raised.value.code, wire.sent) == ("engine.outside_perimeter", [])


async def swapped(office: Office, case: str, column: str, *, opens: bool) -> None:
    """Somebody who owns the database, and perhaps the keys, puts another value there."""
    record = await record_of(office, case)
    name = sql.Identifier(column)
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        query = sql.SQL("select {} from model_call where run_id = %s").format(name)
        sealed: bytes = connection.cursor(row_factory=args_row(bytes)).execute(query, [record.run]).fetchall()[0]
        value = sealed + b"\0"
        if opens:
            cipher = await office.keyring.cipher(TENANT, case)
            place = context(f"model_call.{column}", record.run, record.call, record.attempt)
            opened = cipher.open(RetentionClass.EXCHANGE, place, sealed)
            packed = column == "request_sealed"
            other = zlib.compress(zlib.decompress(opened) + b" ") if packed else opened + b" "
            value = cipher.seal(RetentionClass.EXCHANGE, place, other)
        update = sql.SQL("update model_call set {} = %s where run_id = %s").format(name)
        connection.execute(update, [value, record.run])
        connection.commit()


@pytest.mark.parametrize("column", ["request_sealed", "response_sealed"])
@pytest.mark.parametrize("opens", [False, True], ids=["garbled", "swapped"])
async def test_what_the_ledger_did_not_commit_to_is_not_sent(office: Office, column: str, opens: bool) -> None:
    case, _ = await answered(office, f"swapped-{column}-{opens}")
    await swapped(office, case, column, opens=opens)
    given, wire = await asked(office, case), Wire(None)
    async with engine(office, wire) as (calls, _):
        with pytest.raises(Tampered) as raised:
            await sent(calls, given)
    assert raised.value.code == ("rerun.not_as_recorded" if opens else "cipher.does_not_open")
    assert wire.sent == []


@pytest.mark.parametrize("mode", [Mode.BUSY, Mode.CRASH, Mode.NOT_JSON])
async def test_an_engines_fault_takes_it_out_and_the_call_goes_elsewhere(office: Office, mode: Mode) -> None:
    case, _ = await answered(office, f"fault-{mode.value}")
    given, wire = await asked(office, case), Wire(None)
    async with engine(office, wire) as (calls, model):
        calls._engine._wire = TransportWire(Wire(Failure(mode)))  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(Retry):
            await sent(calls, given)
        assert model.health.out
        with pytest.raises(Unavailable) as out:
            await sent(calls, given)
        assert out.value.code == "engine.out"
    assert (await row_of(office, given)).status is Outcome.ASKED


# --- the case worker's part -------------------------------------------------------------------------------------------


async def signs(office: Office, host: str, *, state: str = SERVING, **said: Any) -> None:
    model = demo_registry().model(MODEL)
    given = HostSigns(
        *(host, MODEL, VERSION, state, "hung" if state == OUT else "", 4, 4, 0, 0, 0, 0.0, 0, 0),
        *(model.weights_digest, model.tokenizer_digest or "", "unknown"),
    )
    values = {name: getattr(given, name) for name in HostSigns.__dataclass_fields__} | said
    async with office.pool.transaction(None) as conn:
        await give_sign(conn, HostSigns(**values))


@pytest.fixture
async def hosts(office: Office) -> AsyncGenerator[Callable[..., Awaitable[None]]]:
    yield functools.partial(signs, office)
    with office.database.superuser() as connection:
        connection.execute("delete from pool_host")


async def test_only_hosts_that_fit_are_asked_the_batch_invariant_first(office: Office, hosts: Any) -> None:
    case, _ = await answered(office, "planned")
    given = await asked(office, case)
    reruns = Reruns(office.worker, office.keyring, office.machine.wall, call_limit_s=30)

    async def planned() -> RerunPlan:
        return await ActivityEnvironment().run(reruns.plan_rerun, given)

    assert (await planned()).why == "rerun.no_host"
    await hosts("full", calls=4)
    assert (await planned()).queues == []
    assert (await planned()).why == "rerun.no_room"
    await hosts("busy", calls=2)
    await hosts("free", calls=1)
    await hosts("slow-and-sure", batch_invariant="yes", calls=3)
    await hosts("out", state=OUT)
    await hosts("upgraded", version="2")
    await hosts("other", weights_digest="0" * 64)
    plan = await planned()
    assert [queue.rpartition("@")[2] for queue in plan.queues] == ["slow-and-sure", "free", "busy"]
    assert (plan.outcome, plan.call_limit_s) == ("asked", 30)


async def test_one_that_none_took_ends_as_not_run_and_stays_so(office: Office) -> None:
    case, _ = await answered(office, "none-took")
    given = await asked(office, case)
    reruns = Reruns(office.worker, office.keyring, office.machine.wall, call_limit_s=30)
    ended = RerunEnd(**given.model_dump(), reason="rerun.no_room")
    assert await ActivityEnvironment().run(reruns.end_rerun, ended) == "not_run"
    assert await ActivityEnvironment().run(reruns.end_rerun, ended) == "not_run"
    row = await row_of(office, given)
    assert (row.status, row.reason, row.conditions) == (Outcome.NOT_RUN, "rerun.no_room", None)
    assert (await office.detail(case, "call:rerun:ended"))["reason"] == "rerun.no_room"
    assert (await ActivityEnvironment().run(reruns.plan_rerun, given)).outcome == "not_run"
    # An answer that comes all the same is no news.
    wire = Wire(None)
    async with engine(office, wire) as (calls, _):
        assert await sent(calls, given) == "not_run"
    assert wire.sent == []


async def test_of_two_that_were_asked_of_one_call_the_second_is_refused_until_the_first_ended(office: Office) -> None:
    case, _ = await answered(office, "one-at-a-time")
    given = await asked(office, case)
    with pytest.raises(DiwanError) as raised:
        await asked(office, case)
    assert raised.value.code == "rerun.under_way"
    async with engine(office, Wire(None)) as (calls, _):
        await sent(calls, given)
    await asked(office, case)


async def test_another_ministry_has_no_such_rerun(office: Office) -> None:
    case, _ = await answered(office, "foreign")
    given = await asked(office, case)
    async with office.web.transaction("another") as conn:
        with pytest.raises(NotFound):
            await get_rerun(conn, "another", case, given.rerun)
