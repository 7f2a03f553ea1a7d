"""The model call: asked once, answered from the record ever after; what an engine says badly is a turn, and is kept."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from sqlalchemy import text

from agents.loop import TurnKind
from diwan.domain.errors import Final, Retry, Unavailable
from diwan.domain.ports import RetentionClass
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.pool.registry import Sampling
from diwan.store import calls
from diwan.store.calls import opened_request
from diwan.store.sealing import context
from tests.activities.office import HOST, EndlessWire, Office, Wire
from tests.support.factories import TENANT


def attempts(office: Office, run: str) -> list[tuple[object, ...]]:
    """(attempt, status, used, broken) of the first call of a run."""
    return office.stored(
        "select attempt, status, used, broken from model_call where run_id = %s and call = 1 order by attempt", run
    )


async def test_a_call_that_has_its_answer_is_not_sent_again(office: Office) -> None:
    step, run = await office.examining("asked-twice")
    wire = Wire(None)
    async with office.engine(wire) as model:
        first = await office.ask(model, step, run, 1, final=False)
        version = (await office.row(step.case)).version
        assert await office.ask(model, step, run, 1, final=False) == first
    assert len(wire.sent) == 1
    assert attempts(office, run.run) == [(1, "answered", True, "")]
    assert (await office.row(step.case)).version == version


async def test_the_bytes_that_are_sent_are_those_on_record(office: Office) -> None:
    step, run = await office.examining("same-bytes")
    wire = Wire(None)
    async with office.engine(wire) as model:
        await office.ask(model, step, run, 1, final=False)
    ((sealed,),) = office.stored("select request_sealed from model_call where run_id = %s", run.run)
    assert isinstance(sealed, bytes)
    assert wire.sent[0] not in sealed
    cipher = await office.keyring.cipher(TENANT, step.case)
    assert opened_request(cipher, run.run, 1, 1, sealed) == wire.sent[0]
    (entry,) = await office.entries(step.case, "agent:model:called")
    said = json.loads(entry.header)
    assert said["model"]["name"] == "demo-rules"
    assert {"request", "response"} <= said["commitments"].keys()


async def test_the_registered_sampling_is_sent_and_on_record(office: Office) -> None:
    step, run = await office.examining("sampling")
    wire = Wire(None)
    async with office.engine(wire, sampling=Sampling(temperature=0.7, top_k=20, seed=7)) as model:
        await office.ask(model, step, run, 1, final=False)
    asked = json.loads(wire.sent[0])
    assert (asked["temperature"], asked["top_k"], asked["seed"]) == (0.7, 20, 7)
    (entry,) = await office.entries(step.case, "agent:model:called")
    said = json.loads(entry.header)["model"]
    assert said["sampling"] == {"temperature": "0.7", "top_k": 20, "max_tokens": asked["max_tokens"]}
    assert said["seed"] == 7


async def test_of_two_attempts_the_second_to_answer_is_kept_and_not_used(office: Office) -> None:
    """A worker that was given up for dead comes back with its answer after another has answered."""
    step, run = await office.examining("late")
    slow, quick = Wire(Failure(Mode.JUNK)), Wire(None)
    async with office.engine(slow) as given_up, office.engine(quick) as other:

        async def overtaken() -> None:
            answered = await office.ask(other, step, run, 1, final=False)
            assert answered.kind is TurnKind.TOOLS

        slow.before = overtaken
        turn = await office.ask(given_up, step, run, 1, final=False)
    assert turn.kind is TurnKind.TOOLS  # what counts, not the junk it was given itself
    assert attempts(office, run.run) == [(1, "late", False, ""), (2, "answered", True, "")]
    assert len(await office.entries(step.case, "agent:model:called")) == 2


async def test_an_answer_after_the_end_of_its_run_is_kept_and_not_used(office: Office) -> None:
    step, run = await office.examining("after-the-end")
    wire = Wire(None)

    async def given_up() -> None:
        await office.end(step, run, "engine_unavailable")

    wire.before = given_up
    async with office.engine(wire) as model:
        await office.ask(model, step, run, 1, final=False)
    assert attempts(office, run.run) == [(1, "late", False, "")]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (Mode.JUNK, TurnKind.JUNK),
        (Mode.TRUNCATE, TurnKind.TRUNCATED),
        (Mode.REFUSE, TurnKind.REFUSED),
        (Mode.EMPTY, TurnKind.EMPTY),
        (Mode.ENDLESS, TurnKind.ENDLESS),
    ],
)
async def test_what_an_engine_says_badly_is_a_turn_of_its_kind_and_kept(
    office: Office, mode: Mode, kind: TurnKind
) -> None:
    step, run = await office.examining(f"badly-{mode.value}")
    wire = EndlessWire(None) if mode is Mode.ENDLESS else Wire(Failure(mode))
    async with office.engine(wire) as model:
        turn = await office.ask(model, step, run, 1, final=False)
        again = await office.ask(model, step, run, 1, final=False)
    assert (turn.kind, again) == (kind, turn)
    assert len(wire.sent) == 1
    cipher = await office.keyring.cipher(TENANT, step.case)
    async with office.worker.transaction(TENANT) as conn:
        (kept,) = (await calls.recorded(conn, TENANT, run.run, cipher)).answers
    assert kept.body
    assert kept.broken == ("endless" if mode is Mode.ENDLESS else "")
    assert (await office.detail(step.case, "agent:model:called"))["kind"] == kind.value


FAULTS = [
    (Mode.BUSY, "engine.busy", "busy"),
    (Mode.CRASH, "engine.failed", "failed"),
    (Mode.NOT_JSON, "engine.not_json", "junk"),
]


@pytest.mark.parametrize(("mode", "code", "out"), FAULTS)
async def test_an_engines_fault_is_on_record_and_takes_it_out_until_a_probe_is_answered(
    office: Office, mode: Mode, code: str, out: str
) -> None:
    step, run = await office.examining(f"fault-{mode.value}")
    wire = Wire(Failure(mode, times=2))
    async with office.engine(wire) as model:
        with pytest.raises(Retry) as raised:
            await office.ask(model, step, run, 1, final=False)
        assert raised.value.code == code
        assert model.health.out == out
        with pytest.raises(Unavailable) as standing_by:
            await office.ask(model, step, run, 1, final=False)
        assert standing_by.value.code == "engine.out"
        assert not await model.health.try_again()
        assert await model.health.try_again()
        turn = await office.ask(model, step, run, 1, final=False)
    assert turn.kind is TurnKind.TOOLS
    assert attempts(office, run.run) == [(1, "failed", False, ""), (2, "answered", True, "")]
    assert office.stored("select reason, host, ended_at is null from model_call where run_id = %s", run.run) == [
        (code, HOST, False),
        ("", HOST, False),
    ]
    failed = await office.detail(step.case, "agent:model:failed")
    assert (failed["reason"], failed["host"], failed["call"]) == (code, HOST, 1)


async def test_what_came_in_an_answers_place_is_kept_sealed(office: Office) -> None:
    step, run = await office.examining("junk-kept")
    async with office.engine(Wire(Failure(Mode.NOT_JSON))) as model:
        with pytest.raises(Retry):
            await office.ask(model, step, run, 1, final=False)
    ((sealed,),) = office.stored("select response_sealed from model_call where run_id = %s", run.run)
    assert isinstance(sealed, bytes)
    cipher = await office.keyring.cipher(TENANT, step.case)
    place = context("model_call.response_sealed", run.run, 1, 1)
    assert cipher.open(RetentionClass.EXCHANGE, place, sealed) == b"upstream: <html>"


async def test_the_gate_is_closed_before_the_fault_is_raised_or_even_stored(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, run = await office.examining("gate-first")
    wire = Wire(Failure(Mode.CRASH))
    async with office.engine(wire) as model:
        out, take_out = asyncio.Event(), model.health.take_out

        def told(reason: str) -> None:
            take_out(reason)
            out.set()

        monkeypatch.setattr(model.health, "take_out", told)
        # The case's row is locked by somebody: the failure cannot be stored meanwhile.
        async with office.worker.transaction(TENANT) as conn:
            await conn.execute(text("SELECT 1 FROM case_file WHERE id = :id FOR NO KEY UPDATE"), {"id": step.case})
            asking = asyncio.create_task(office.ask(model, step, run, 1, final=False))
            async with asyncio.timeout(30):
                await out.wait()
            assert not asking.done()
        with pytest.raises(Unavailable):
            await asking
    # It was told at once: had it waited for the lock, storing would have been given up.
    assert attempts(office, run.run) == [(1, "failed", False, "")]


async def test_an_answer_of_another_model_is_none(office: Office) -> None:
    """The address serves something else than at the last look."""
    step, run = await office.examining("another-model")
    wire = Wire(None, says={"model": "another"})
    async with office.engine(wire) as model:
        with pytest.raises(Unavailable) as raised:
            await office.ask(model, step, run, 1, final=False)
        assert (raised.value.code, model.health.out) == ("engine.wrong_model", "wrong_model")
        assert not await model.health.try_again()
    assert attempts(office, run.run) == [(1, "failed", False, "")]


async def test_a_call_that_fails_on_engine_after_engine_is_given_up_and_not_the_engines(office: Office) -> None:
    step, run = await office.examining("poison")
    wire = Wire(Failure(Mode.CRASH))
    async with office.engine(wire) as model:
        for _ in range(8):
            with pytest.raises(Unavailable):
                await office.ask(model, step, run, 1, final=False)
            model.health.admit()
        with pytest.raises(Final) as raised:
            await office.ask(model, step, run, 1, final=False)
    assert raised.value.code == "engine.call_fails"
    assert len(wire.sent) == 8
    assert len(attempts(office, run.run)) == 8


async def test_while_an_engine_is_out_no_more_requests_are_kept(office: Office) -> None:
    step, run = await office.examining("away")
    wire = Wire(None)

    async def away() -> None:
        raise httpx.ConnectError("gone")

    wire.before = away
    async with office.engine(wire) as model:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await office.ask(model, step, run, 1, final=False)
        assert attempts(office, run.run) == [(1, "failed", False, "")]
        assert not await model.health.try_again()
        wire.before = None
        assert await model.health.try_again()
        turn = await office.ask(model, step, run, 1, final=False)
    assert turn.kind is TurnKind.TOOLS
    assert attempts(office, run.run) == [(1, "failed", False, ""), (2, "answered", True, "")]


async def test_a_turn_names_its_host_when_it_is_read_again_too(office: Office) -> None:
    step, run = await office.examining("host-named")
    async with office.engine(Wire(None)) as model:
        assert (await office.ask(model, step, run, 1, final=False)).host == HOST
    async with office.engine(Wire(None)) as other:  # nothing kept in memory
        assert (await office.ask(other, step, run, 1, final=False)).host == HOST
    assert [turn.host for turn in (await office.runs.begin_run(step)).turns] == [HOST]


@pytest.mark.parametrize("mode", [Mode.JUNK, Mode.REFUSE, Mode.EMPTY, Mode.TRUNCATE])
async def test_an_agent_that_only_answers_badly_leaves_the_dossier_to_people(office: Office, mode: Mode) -> None:
    case = await office.open(f"given-up-{mode.value}")
    await office.perform(await office.here(case))
    plan = await office.examine(await office.here(case), Wire(Failure(mode)))
    assert plan.step == "review"
    proposal = (await office.dossier(case)).proposal
    assert proposal is not None
    reason = {Mode.TRUNCATE: "truncated", Mode.REFUSE: "refused"}.get(mode, mode.value)
    assert f"agent_failed.{reason}" in proposal.warnings
    assert proposal.assessment.result is None
