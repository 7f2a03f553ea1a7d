"""The model call: asked once, answered from the record ever after; what an engine says badly is a turn, and is kept."""

from __future__ import annotations

import json

import httpx
import pytest

from agents.loop import TurnKind
from agents.sampling import Sampling
from diwan.domain.errors import Unavailable
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.pool.errors import EngineBusy
from diwan.store import calls
from diwan.store.calls import opened_request
from tests.activities.office import EndlessWire, Office, Wire
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
        (Mode.NOT_JSON, TurnKind.JUNK),
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
    assert kept.broken == {Mode.NOT_JSON: "junk", Mode.ENDLESS: "endless"}.get(mode, "")
    assert (await office.detail(step.case, "agent:model:called"))["kind"] == kind.value


async def test_an_engine_without_room_is_a_fault_and_no_answer(office: Office) -> None:
    step, run = await office.examining("busy")
    wire = Wire(Failure(Mode.BUSY, times=1))
    async with office.engine(wire) as model:
        with pytest.raises(EngineBusy):
            await office.ask(model, step, run, 1, final=False)
        turn = await office.ask(model, step, run, 1, final=False)
    assert turn.kind is TurnKind.TOOLS
    assert attempts(office, run.run) == [(1, "sent", False, ""), (2, "answered", True, "")]


async def test_while_an_engine_is_away_no_more_requests_are_kept(office: Office) -> None:
    step, run = await office.examining("away")
    wire = Wire(None)

    async def away() -> None:
        raise httpx.ConnectError("gone")

    wire.before = away
    async with office.engine(wire) as model:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await office.ask(model, step, run, 1, final=False)
        assert attempts(office, run.run) == [(1, "sent", False, "")]
        wire.before = None
        turn = await office.ask(model, step, run, 1, final=False)
    assert turn.kind is TurnKind.TOOLS
    assert attempts(office, run.run) == [(1, "sent", False, ""), (2, "answered", True, "")]


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
