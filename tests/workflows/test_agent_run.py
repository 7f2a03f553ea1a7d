"""The agent run: whatever the model answers, it ends, with an answer or with the reason why a person takes over."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from agents.loop import ToolRequest, Turn, TurnKind
from agents.registry import spec_of
from diwan.domain.case import StepKind
from diwan.domain.errors import NeedsPerson, Unavailable
from tests.workflows.conftest import Desk, plan, started, workers

EXAMINE = plan("examine", StepKind.AGENT)
END = plan("closed", StepKind.END)
READY = Turn(kind=TurnKind.ANSWER, final=False)
ANSWER = Turn(kind=TurnKind.ANSWER, final=True)
TOOLS = Turn(
    kind=TurnKind.TOOLS,
    final=False,
    requests=(ToolRequest(position=0, tool="documents.list"), ToolRequest(position=1, tool="documents.read_page")),
)


async def run(temporal: Client, desk: Desk, *, with_pool: bool = True) -> None:
    desk.plans = [EXAMINE, END]
    async with workers(temporal, desk, with_pool=with_pool):
        await (await started(temporal)).result()


async def test_calls_and_tools_take_turns_until_the_typed_answer(temporal: Client, desk: Desk) -> None:
    desk.answers = [TOOLS, READY, ANSWER]
    await run(temporal, desk)
    assert desk.log == [
        *("load_case", "begin_run", "model 1", "tool documents.list", "tool documents.read_page"),
        *("model 2", "model 3 final", "end_run"),
    ]


@pytest.mark.parametrize("kind", [kind for kind in TurnKind if kind not in (TurnKind.ANSWER, TurnKind.TOOLS)])
async def test_answers_of_no_use_end_with_a_person(temporal: Client, desk: Desk, kind: TurnKind) -> None:
    desk.answers = [Turn(kind=kind, final=False)]
    await run(temporal, desk)
    assert [end.reason for end in desk.ended] == [kind.value]
    retries = spec_of("dossier-examiner").budgets.retries
    assert len([line for line in desk.log if line.startswith("model")]) == retries + 1


async def test_a_model_that_asks_for_ever_is_stopped_by_its_budget(temporal: Client, desk: Desk) -> None:
    desk.answers = [TOOLS]
    await run(temporal, desk)
    assert len(desk.ended) == 1
    assert desk.ended[0].reason != ""
    assert len([line for line in desk.log if line.startswith("model")]) <= spec_of("dossier-examiner").budgets.calls


async def test_with_no_pool_worker_a_person_takes_over_when_patience_ends(temporal: Client, desk: Desk) -> None:
    desk.patience_s = 1
    await run(temporal, desk, with_pool=False)
    assert [end.reason for end in desk.ended] == ["engine_unavailable"]


async def test_an_engine_that_is_down_is_tried_until_patience_ends_then_a_person_takes_over(
    temporal: Client, desk: Desk
) -> None:
    desk.patience_s = 5

    def down() -> Turn:
        raise Unavailable("engine.unreachable", "The engine cannot be reached.")

    desk.answers = [down]
    await run(temporal, desk)
    assert [end.reason for end in desk.ended] == ["engine.unreachable"]
    assert len([line for line in desk.log if line.startswith("model")]) >= 3


async def test_what_no_trying_mends_goes_to_a_person_at_once(temporal: Client, desk: Desk) -> None:
    def refuses() -> Turn:
        raise NeedsPerson("engine.context_exceeded", "The dossier is longer than the model's context.")

    desk.answers = [refuses]
    await run(temporal, desk)
    assert [end.reason for end in desk.ended] == ["engine.context_exceeded"]
    assert len([line for line in desk.log if line.startswith("model")]) == 1


async def test_an_engine_that_comes_back_is_used(temporal: Client, desk: Desk) -> None:
    def down() -> Turn:
        raise Unavailable("engine.unreachable", "The engine cannot be reached.")

    desk.answers = [down, READY, ANSWER]
    await run(temporal, desk)
    assert [end.reason for end in desk.ended] == [""]
