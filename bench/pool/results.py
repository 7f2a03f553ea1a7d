"""The section of RESULTS.md that the pool's bench makes, and its gates. Nothing in that section is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from bench import programs, report
from bench.pool.alone import Alone
from bench.pool.backlog import Crowded
from bench.pool.ceiling import Ceiling
from bench.pool.fleet import Placement
from bench.pool.pace import Pace
from bench.pool.real import Compared, Engine
from bench.pool.saturation import Saturated
from bench.pool.waits import Waits, share
from bench.report import Verdict

OCCUPANCY_GATE = 0.95
OTHERS_GATE = 2.0
DEMAND_GATE = 0.5
VLLM_GOAL = 0.95


@dataclass(frozen=True)
class Found:
    alone: Alone
    ceiling: Ceiling
    crowded: Crowded
    saturated: list[Saturated]


def verdicts(found: Found) -> list[Verdict]:
    ours = [each for each in found.saturated if each.placement is Placement.OURS]
    occupancy = [
        Verdict(
            f"occupancy of {each.hosts} hosts with {each.slots} slots",
            f"{each.occupancy:.3f}",
            f"{OCCUPANCY_GATE} or more",
            each.occupancy >= OCCUPANCY_GATE,
        )
        for each in ours
    ]
    demand = max(each.calls_a_second for each in ours) / found.ceiling.durable
    crowd = found.crowded
    others = _whole(crowd.other) / _whole(crowd.alone)
    queued = share(_queued(crowd.urgent), 99)
    return [
        *occupancy,
        Verdict(
            "another ministry's cases beside a flood of a hundred to one, over alone",
            f"{others:.2f}",
            f"{OTHERS_GATE} or less",
            others <= OTHERS_GATE,
        ),
        Verdict(
            f"an urgent call's wait in queues, 99 of 100, {crowd.waiting[0]} waiting",
            f"{queued:.1f} s",
            f"less than a call takes ({_call_s(crowd):.1f} s)",
            queued <= _call_s(crowd),
            gate=False,
        ),
        Verdict(
            "most calls a second here, over what this machine carries",
            f"{demand:.2f}",
            f"{DEMAND_GATE} or less",
            demand <= DEMAND_GATE,
            gate=False,
        ),
    ]


def text(found: Found, judged: Sequence[Verdict], *, commit: str, command: str) -> str:
    pace = Pace()
    return "\n\n".join(
        [
            f"## Pool, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"Commit {commit}. {report.machine()}. Temporal server {programs.TEMPORAL_VERSION}, Debian's Postgres. "
            f"No randomness but ids: no seed. Command: `{command}`.",
            f"Engines are stand-ins that keep a pace, no models: {pace.token_s * 1000:.1f} ms a token of an answer, "
            f"{pace.prefill_a_second:.0f} prompt tokens a second, {pace.slots} calls at once (`bench/pool/pace.py` "
            "says what published figures these are). All else is what a ministry runs: a `diwan pool serve` for each.",
            report.verdicts_table(judged),
            "### More runs than slots",
            _saturated(found.saturated),
            "Occupancy is over the time in which there were more runs than slots. A router that pushes has calls wait "
            "in engines, where they hold a slot while another's prompt is computed.",
            *_crowded(found.crowded),
            *_limits(found),
        ]
    )


def vllm_verdicts(found: Compared) -> list[Verdict]:
    """A goal: a machine without an accelerator has nothing that it would be a gate for."""
    share_ = found.ours.answer_tokens_a_second / found.vllm.answer_tokens_a_second
    return [
        Verdict(
            "answer tokens a second through Diwan, over vLLM's own benchmark",
            f"{share_:.2f}",
            f"{VLLM_GOAL} or more",
            share_ >= VLLM_GOAL,
            gate=False,
        )
    ]


def vllm_text(found: Compared, engine: Engine, *, commit: str) -> str:
    rows = [
        [
            name,
            str(each.calls),
            str(each.prompt_tokens),
            str(each.answer_tokens),
            f"{each.seconds:.1f}",
            f"{each.answer_tokens_a_second:.1f}",
        ]
        for name, each in (("through Diwan", found.ours), ("vLLM's own benchmark", found.vllm))
    ]
    heads = ["", "calls", "prompt tokens", "answer tokens", "s", "answer tokens a second"]
    return "\n\n".join(
        [
            f"## Pool with a real engine, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"Commit {commit}. {report.machine()}. vLLM {found.version}, {engine.weights.name}, {engine.room} calls at "
            f"once, options {' '.join(engine.arguments)}. Command: `make bench-pool-vllm`.",
            report.verdicts_table(vllm_verdicts(found)),
            report.table(heads, rows),
            f"{found.runs} agent runs, begun at once, of which {found.cached} prompt tokens were cached; then the same "
            "prompts in the same order, for as many tokens each, on a server started anew.",
        ]
    )


def _saturated(rounds: Sequence[Saturated]) -> str:
    rows = [
        [
            f"{each.hosts} x {each.slots // each.hosts}",
            str(each.calls),
            each.placement.value,
            f"{each.occupancy:.3f}",
            f"{each.calls_a_second:.2f}",
            f"{each.runs_a_minute:.1f}",
            f"{each.fresh_a_run:.0f}",
            f"{each.seconds:.0f}",
        ]
        for each in rounds
    ]
    heads = [
        "hosts x slots",
        "calls a run",
        "placement",
        "occupancy",
        "calls/s",
        "runs/min",
        "prompt tokens computed, a run",
        "s",
    ]
    return report.table(heads, rows)


def _crowded(found: Crowded) -> list[str]:
    crowd = found.crowd
    sets = {
        "another ministry's, alone": found.alone,
        f"urgent, while {crowd.flood} cases begin": found.early,
        f"urgent, {found.waiting[0]} calls waiting": found.urgent,
        f"another ministry's, {crowd.flood} of one beside {crowd.other} of its own": found.other,
    }
    rows = [
        [
            name,
            str(len(waits)),
            *_middle_and_most([each.begun_s for each in waits]),
            *_middle_and_most(_queued(waits)),
            *_middle_and_most([each.whole_s for each in waits]),
        ]
        for name, waits in sets.items()
    ]
    heads = ["cases", "number", "until the first call is queued", "99 %", "a call in queues", "99 %", "whole", "99 %"]
    first_come = found.waiting[0] * _call_s(found) / (crowd.hosts * Pace().slots)
    return [
        f"### Far more cases than slots: {crowd.hosts} hosts, 2 calls a run",
        report.table(heads, rows),
        f"Seconds, medians and 99 of 100; a case each {crowd.every_s:.1f} s. A call takes {_call_s(found):.1f} s of "
        f"its engine. At the end {found.waiting[1]} calls waited. First come, first served, a call would wait "
        f"{first_come:.0f} s behind those that waited at first (calculated).",
    ]


def _limits(found: Found) -> list[str]:
    limit, alone = found.ceiling, found.alone
    busiest = max(found.saturated, key=lambda each: each.calls_a_second)
    # Half of what is carried, so that order is kept and nothing waits for this machine.
    slots = limit.durable / 2 * 30
    return [
        "### What this machine carries",
        f"With engines that answer at once, {limit.runs} runs of {limit.calls} calls at a time: Temporal alone "
        f"{limit.bare:.1f} calls a second (activities that do nothing), Diwan {limit.durable:.1f}, cases opened and "
        f"ended with them. The most that was asked of it above is {busiest.calls_a_second:.1f} ({busiest.hosts} "
        f"hosts). Kept at half of its limit, this machine carries {slots:.0f} slots of calls of 30 s; more slots, or "
        "shorter calls, want more cores for case workers, Postgres and Temporal, in proportion.",
        "### One run alone on one host",
        f"A call takes {alone.added_ms:.0f} ms beyond its engine's own time, the tool call after it and the "
        f"run's opening and end included (median of {alone.runs} runs of {alone.calls} calls); one over HTTP alone "
        f"{alone.direct_ms:.0f} ms.",
    ]


def _queued(waits: Sequence[Waits]) -> list[float]:
    return [queued for each in waits for queued in each.queued_s]


def _whole(waits: Sequence[Waits]) -> float:
    return median(each.whole_s for each in waits)


def _call_s(found: Crowded) -> float:
    """Alone, what a call takes when nothing of it waits: whole runs less what they waited, by their two calls."""
    return median((each.whole_s - each.begun_s - sum(each.queued_s)) / len(each.queued_s) for each in found.alone)


def _middle_and_most(values: Sequence[float]) -> tuple[str, str]:
    return f"{median(values):.2f}", f"{share(values, 99):.2f}"
