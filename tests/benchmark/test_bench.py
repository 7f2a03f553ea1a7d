"""The bench's own arithmetic, its stand-in for an engine and its cases. How long anything takes is not tested."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.examiner import EXAMINER
from agents.loop import TurnKind
from agents.parse import parse_response
from bench import bare, report
from bench.cases import SIZES, STEP, bench_procedure, page_text
from bench.engine import PAGES, Engine
from bench.meters import Reading, Wal, cpu_ms, cpu_of_stat, spent
from bench.profile import shares
from bench.rounds import Round
from bench.service import registry
from diwan.procedures.load import load_procedure
from diwan.procedures.steps import AgentStep
from diwan.temporal import CASE_QUEUE, model_queue


def a_round(side: str, cpu: dict[str, float], seconds: float = 10.0) -> Round:
    used = spent(Reading(0.0, {}, 0.0), Reading(seconds, cpu, 20_000.0))
    return Round(side, runs=10, steps=10, spent=used, wal=Wal(1000, 10, 20), history_bytes=15_000, events=80)


def test_a_round_is_counted_by_the_step() -> None:
    made = a_round("diwan", {"temporal": 2_000.0, "engine": 500.0})
    assert made.all_steps == 100
    assert made.steps_a_second == 10.0
    assert made.cpu_of("temporal") == 20.0
    assert made.cpu_ms_a_step == 25.0
    assert made.spent.others == 17_500.0


def test_a_stand_in_is_shown_and_not_counted_and_the_ratio_is_bare_over_ours() -> None:
    ours = [a_round("diwan", {"temporal": 4_000.0, "engine": 500.0}) for _ in range(3)]
    theirs = [a_round("bare", {"temporal": 3_000.0}) for _ in range(3)]
    assert report.cpu(ours) == 40.0
    assert report.ratio(report.cpu(ours), report.cpu(theirs)) == 0.75
    short = [replace(a_round("diwan", {"temporal": 1_000.0, "engine": 100.0}), steps=4)]
    assert report.step_cpu(ours, short) == 3_000 / 60
    bare_short = [replace(a_round("bare", {"temporal": 1_000.0}), steps=4)]
    assert "| engine | 0.0 | 6.7 | 0.0 | 5.0 |" in report.burst_tables((theirs, bare_short), (ours, short))


def test_rounds_are_compared_with_those_of_their_own_minute() -> None:
    """In the second turn the machine is three times as slow, in the fourth only our long round was disturbed."""

    def rounds(long: list[float], short: list[float]) -> tuple[list[Round], list[Round]]:
        return (
            [a_round("", {"temporal": cpu}) for cpu in long],
            [replace(a_round("", {"temporal": cpu}), steps=4) for cpu in short],
        )

    bare = rounds([4_000, 12_000, 4_000, 4_000, 4_000], [1_000, 3_000, 1_000, 1_000, 1_000])
    ours = rounds([5_000, 15_000, 5_000, 9_000, 4_000], [1_000, 3_000, 1_000, 1_000, 1_000])
    assert report.step_ratios(bare, ours) == [0.75, 0.75, 0.75]
    one = rounds([4_000], [1_000]), rounds([7_000], [1_000])
    assert report.step_ratios(*one) == [0.5, 0.5, 0.5]


def test_what_parts_use_at_rest_is_taken_off() -> None:
    before, after = Reading(0.0, {"temporal": 100.0}, 0.0), Reading(10.0, {"temporal": 600.0}, 700.0)
    used = spent(before, after, idle={"temporal": 20.0})
    assert used.cpu == {"temporal": 300.0}
    assert used.others == 200.0


def test_cpu_is_read_past_a_name_with_spaces_and_brackets() -> None:
    fields = ["S", "1", *(["0"] * 9), "7", "5", *(["0"] * 30)]
    tick = 1000 / os.sysconf("SC_CLK_TCK")
    assert cpu_of_stat(f"42 (a (b) c) {' '.join(fields)}") == 12 * tick
    assert cpu_ms(os.getpid()) > 0
    assert cpu_ms(2**22 + 1) == 0


def test_a_sample_counts_for_the_innermost_frame_that_is_known() -> None:
    folded = (
        "run (/x/asyncio/base.py:1);call (/r/activities/model.py:3);execute (/s/psycopg/c.py:9);wait (<string>:1) 3\n"
        "run (/x/asyncio/base.py:1);call (/r/activities/model.py:3) 1\n"
    )
    assert shares(folded) == {"messages to Postgres": 0.75, "activities": 0.25}


def chat(engine: Engine, tools: int, **more: Any) -> bytes:
    messages = [{"role": "user", "content": "?"}, *([{"role": "tool", "content": "."}] * tools)]
    body = json.dumps({"model": bare.MODEL, "messages": messages, **more})
    return engine.answer("/v1/chat/completions", body.encode())


def test_the_engine_asks_so_often_then_answers_and_the_agents_loop_takes_it() -> None:
    engine = Engine(steps=2)
    for done in range(2):
        parsed = parse_response(EXAMINER, chat(engine, done), final=False)
        assert parsed.turn.kind is TurnKind.TOOLS
        assert [call.arguments for call in parsed.calls] == [{"document": "d1", "page": done % PAGES + 1}]
    assert parse_response(EXAMINER, chat(engine, 2), final=False).turn.kind is TurnKind.ANSWER
    final = parse_response(EXAMINER, chat(engine, 2, response_format={}), final=True)
    assert isinstance(final.answer, EXAMINER.output)
    engine.answer("/steps", b"3")
    assert parse_response(EXAMINER, chat(engine, 2), final=False).turn.kind is TurnKind.TOOLS


def test_a_case_of_the_bench_starts_with_its_agent_and_then_waits_for_a_person() -> None:
    procedure = load_procedure(bench_procedure())
    assert procedure.start == STEP
    assert isinstance(procedure.steps[STEP], AgentStep)
    assert [way.to for way in procedure.steps[STEP].next] == ["review"]


def test_dossiers_are_as_large_as_they_are_called() -> None:
    assert len(page_text("d", 1).encode()) in range(1_990, 2_001)
    sizes = [size.documents * size.pages * 2_000 for size in SIZES.values()]
    assert sizes == [10_000, 100_000, 1_000_000, 10_000_000]
    assert all(size.pages >= PAGES for size in SIZES.values())


def test_both_sides_use_the_same_queues() -> None:
    (model,) = registry().models
    assert (CASE_QUEUE, model_queue(model.name)) == (bare.CASE_QUEUE, bare.MODEL_QUEUE)


@pytest.mark.parametrize("before", ["", "# Results\n\nby hand\n"])
def test_a_section_is_written_in_its_place_and_nothing_else_changes(tmp_path: Path, before: str) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text(before)
    report.write_section(file, "one", "first")
    report.write_section(file, "two", "second")
    report.write_section(file, "one", "again")
    text = file.read_text()
    assert text.startswith(before.strip())
    assert (text.count("again"), text.count("first"), text.count("second")) == (1, 0, 1)
    assert text.index("again") < text.index("second")
