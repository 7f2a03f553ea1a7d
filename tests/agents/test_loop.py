"""The loop always ends, within its budgets, and says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.examiner import EXAMINER
from agents.loop import CallModel, CallTools, Finish, GiveUp, Reason, ToolRequest, Turn, TurnKind, next_move
from agents.spec import AgentSpec, Budgets

SPEC = replace(EXAMINER, budgets=Budgets(calls=8, tokens=10_000, seconds=100, retries=2, tool_failures=1))
READ = ToolRequest(position=0, tool="documents.read_page")
BAD = ToolRequest(position=1, tool="", problem="unknown_tool")
USELESS = [TurnKind.JUNK, TurnKind.TRUNCATED, TurnKind.REFUSED, TurnKind.EMPTY, TurnKind.ENDLESS]


def tools(*results: bool, requests: tuple[ToolRequest, ...] = (READ,), tokens: int = 10) -> Turn:
    turn = Turn(kind=TurnKind.TOOLS, final=False, requests=requests, prompt_tokens=tokens)
    return turn.with_results(results) if results else turn


def turn(kind: TurnKind, *, final: bool = False, tokens: int = 10) -> Turn:
    return Turn(kind=kind, final=final, prompt_tokens=tokens)


def test_the_ordinary_run_reads_says_so_and_answers() -> None:
    turns: list[Turn] = []
    assert next_move(SPEC, turns, elapsed_s=0) == CallModel(final=False)
    turns.append(tools())
    assert next_move(SPEC, turns, elapsed_s=1) == CallTools((READ,))
    turns[-1] = turns[-1].with_results([True])
    assert next_move(SPEC, turns, elapsed_s=2) == CallModel(final=False)
    turns.append(turn(TurnKind.ANSWER))
    assert next_move(SPEC, turns, elapsed_s=3) == CallModel(final=True)
    turns.append(turn(TurnKind.ANSWER, final=True))
    assert next_move(SPEC, turns, elapsed_s=4) == Finish()


def test_an_agent_without_tools_starts_with_the_final_call() -> None:
    assert next_move(replace(SPEC, tools=()), [], elapsed_s=0) == CallModel(final=True)


@pytest.mark.parametrize("kind", USELESS)
@pytest.mark.parametrize("final", [False, True])
def test_a_useless_answer_is_forgiven_as_often_as_the_budget_says_and_then_named(kind: TurnKind, final: bool) -> None:
    turns: list[Turn] = []
    for _ in range(SPEC.budgets.retries):
        turns.append(turn(kind, final=final))
        assert next_move(SPEC, turns, elapsed_s=0) == CallModel(final=final)
    turns.append(turn(kind, final=final))
    assert next_move(SPEC, turns, elapsed_s=0) == GiveUp(Reason(kind.value))


def test_only_what_can_be_carried_out_is_and_the_rest_counts_as_junk() -> None:
    mixed = tools(requests=(READ, BAD))
    assert next_move(SPEC, [mixed], elapsed_s=0) == CallTools((READ,))
    assert next_move(SPEC, [tools(requests=(BAD,))], elapsed_s=0) == CallModel(final=False)
    assert next_move(SPEC, [tools(requests=(BAD,))] * 3, elapsed_s=0) == GiveUp(Reason.JUNK)


def test_tools_that_keep_failing_end_the_run() -> None:
    assert next_move(SPEC, [tools(False)], elapsed_s=0) == CallModel(final=False)
    assert next_move(SPEC, [tools(False), tools(False)], elapsed_s=0) == GiveUp(Reason.TOOL_FAILED)


def test_a_budget_that_runs_low_asks_for_the_answer_while_it_can_still_be_given() -> None:
    assert next_move(SPEC, [tools(True)] * 4, elapsed_s=0) == CallModel(final=False)
    assert next_move(SPEC, [tools(True)] * 5, elapsed_s=0) == CallModel(final=True), "calls"
    assert next_move(SPEC, [tools(True)], elapsed_s=70) == CallModel(final=True), "seconds"
    assert next_move(SPEC, [tools(True, tokens=3_400)], elapsed_s=0) == CallModel(final=True), "tokens"


@pytest.mark.parametrize(
    ("turns", "elapsed_s"),
    [([tools(True)] * 8, 0.0), ([tools(True)], 100.0), ([tools(True, tokens=10_000)], 0.0)],
    ids=["calls", "seconds", "tokens"],
)
def test_a_spent_budget_ends_the_run(turns: list[Turn], elapsed_s: float) -> None:
    assert next_move(SPEC, turns, elapsed_s=elapsed_s) == GiveUp(Reason.BUDGET)


def test_an_answer_counts_however_late_it_is() -> None:
    late = [*[tools(True, tokens=5_000)] * 9, turn(TurnKind.ANSWER, final=True)]
    assert next_move(SPEC, late, elapsed_s=10_000) == Finish()


def test_once_asked_for_the_answer_tools_are_never_offered_again() -> None:
    assert next_move(SPEC, [turn(TurnKind.ANSWER), turn(TurnKind.JUNK, final=True)], elapsed_s=0) == CallModel(
        final=True
    )


requests = st.builds(
    ToolRequest,
    position=st.integers(0, 3),
    tool=st.sampled_from(["documents.list", ""]),
    problem=st.sampled_from(["", "", "bad_arguments"]),
)
answers = st.tuples(
    st.sampled_from(TurnKind),
    st.lists(requests, max_size=4),
    st.integers(0, 5_000),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.floats(0, 60),
)
budgets = st.builds(
    Budgets,
    calls=st.integers(1, 12),
    tokens=st.integers(1, 20_000),
    seconds=st.floats(1, 200),
    retries=st.integers(0, 4),
    tool_failures=st.integers(0, 3),
)


@given(st.lists(answers, min_size=13, max_size=13), budgets, st.booleans())
def test_whatever_an_engine_answers_a_run_ends_within_its_budgets(
    script: list[tuple[TurnKind, list[ToolRequest], int, list[bool], float]], limits: Budgets, with_tools: bool
) -> None:
    spec = replace(EXAMINER, budgets=limits, tools=EXAMINER.tools if with_tools else ())
    turns, moves, last = _play(spec, script)
    assert isinstance(last, Finish | GiveUp)
    assert len(turns) <= limits.calls
    assert moves <= 2 * limits.calls + 1
    assert sum(each.useless for each in turns) <= limits.retries + 1
    assert isinstance(last, Finish) == (turns[-1].final and turns[-1].kind is TurnKind.ANSWER)


def _play(
    spec: AgentSpec, script: Sequence[tuple[TurnKind, list[ToolRequest], int, list[bool], float]]
) -> tuple[list[Turn], int, object]:
    """Runs the loop against scripted answers; gives the turns, the number of moves and the last one."""
    turns: list[Turn] = []
    elapsed, moves = 0.0, 0
    answer: Callable[[int], tuple[TurnKind, list[ToolRequest], int, list[bool], float]] = script.__getitem__
    while True:
        move = next_move(spec, turns, elapsed_s=elapsed)
        moves += 1
        if isinstance(move, CallModel):
            kind, asked, tokens, _, seconds = answer(len(turns))
            kept = tuple(asked) if kind is TurnKind.TOOLS else ()
            turns.append(Turn(kind=kind, final=move.final, requests=kept, prompt_tokens=tokens))
            elapsed += seconds
        elif isinstance(move, CallTools):
            results = answer(len(turns) - 1)[3]
            turns[-1] = turns[-1].with_results(results[: len(move.requests)])
        else:
            return turns, moves, move


@given(
    st.lists(
        st.builds(
            Turn,
            kind=st.sampled_from(TurnKind),
            final=st.booleans(),
            requests=st.lists(requests, max_size=3).map(tuple),
            results=st.none() | st.lists(st.booleans(), max_size=3).map(tuple),
            prompt_tokens=st.integers(0, 2**31),
        ),
        max_size=10,
    ),
    st.floats(allow_nan=True),
)
def test_any_record_of_turns_has_a_next_move(turns: list[Turn], elapsed_s: float) -> None:
    assert next_move(SPEC, turns, elapsed_s=elapsed_s) is not None


def test_a_turn_carries_no_text_into_a_history() -> None:
    """Fields that may be text are machine names; a digest of arguments would let an identity number be guessed."""
    assert set(Turn.model_fields) == {
        "kind", "final", "why", "requests", "results", "prompt_tokens", "completion_tokens", "cached_tokens",
        "host", "waited_s",
    }  # fmt: skip
    assert set(ToolRequest.model_fields) == {"position", "tool", "problem"}
