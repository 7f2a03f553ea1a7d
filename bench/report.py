"""Tables out of rounds, and the section of RESULTS.md that they make. Nothing in that section is written by hand."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from bench.rounds import Round

PARTS = (
    "temporal",
    "postgres, for temporal",
    "postgres, for diwan",
    "postgres, shared",
    "case worker",
    "pool worker",
    "vault",
    "engine",
)
STAND_INS = frozenset({"engine"})  # in the place of a GPU host: shown, and no part of what a step costs us

RESULTS = Path(__file__).parent / "RESULTS.md"

CPU_GATE = 0.7
HISTORY_GATE = 3_000
GROWTH_GATE = 1.05
CPU_GROWTH_GATE = 1.25  # neighbours and what a larger table costs


@dataclass(frozen=True)
class Verdict:
    """`gate` fails the run where it does not hold; a goal is only reported."""

    what: str
    found: str
    wanted: str
    holds: bool
    gate: bool = True


def of(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """The median over rounds."""
    return median(value(each) for each in rounds)


def cpu(rounds: Sequence[Round]) -> float:
    """CPU ms a step without the stand-ins: the median of the rounds' sums."""
    return of(rounds, lambda each: _cpu_of_all(each) / each.all_steps)


def ratio(ours: float, theirs: float) -> float:
    """How much of the bare rate is left at the same CPU: 1 is free, 0.7 is the gate."""
    return theirs / ours if ours else 0.0


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


Sides = tuple[Sequence[Round], Sequence[Round]]


def step(long: Sequence[Round], short: Sequence[Round], of_round: Callable[[Round], float]) -> float:
    """What one step costs: the difference of a long run and a short one. `of_round` is of all steps of a round."""
    steps = long[0].steps - short[0].steps
    return (of(long, of_round) - of(short, of_round)) / (long[0].runs * steps)


def step_cpu(long: Sequence[Round], short: Sequence[Round]) -> float:
    """CPU ms of one step, without the stand-ins."""
    return step(long, short, _cpu_of_all)


def step_ratios(bare: Sides, diwan: Sides) -> list[float]:
    """Bare CPU over ours, of a step, of every turn: both sides' rounds, long and short, follow on each other in it.

    Lower quartile, median and upper quartile. A machine with neighbours is slower by a half from one minute to the
    next; what is compared is what was measured in the same minute.
    """
    turns = zip(*bare, *diwan, strict=True)
    found = [
        ratio(step_cpu([long], [short]), step_cpu([bare_long], [bare_short]))
        for bare_long, bare_short, long, short in turns
    ]
    return quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3


def _cpu_of_all(each: Round) -> float:
    return each.spent.total - sum(each.spent.cpu.get(part, 0.0) for part in STAND_INS)


def burst_tables(bare: Sides, diwan: Sides) -> str:
    """Of each side its long and its short rounds, one of each a turn."""
    sides = (bare, diwan)
    what: list[tuple[str, Callable[[Round], float], str]] = [
        ("steps a second, whole runs", lambda r: r.steps_a_second, "{:.1f}"),
        ("CPU ms a step, whole runs", lambda r: _cpu_of_all(r) / r.all_steps, "{:.1f}"),
        ("history bytes a step", lambda r: r.history_bytes / r.steps, "{:.0f}"),
        ("history events a step", lambda r: r.events / r.steps, "{:.1f}"),
        ("WAL bytes a step", lambda r: r.wal.bytes / r.all_steps, "{:.0f}"),
        ("WAL syncs a step", lambda r: r.wal.syncs / r.all_steps, "{:.1f}"),
        ("commits a step", lambda r: r.wal.commits / r.all_steps, "{:.1f}"),
        ("other processes on the machine, cores", lambda r: r.spent.others / r.spent.seconds / 1000, "{:.2f}"),
    ]
    rows = [[name, *(form.format(of(long, value)) for long, _ in sides)] for name, value, form in what]
    parts = [
        [
            part,
            *(f"{step(*side, lambda r, p=part: r.spent.cpu.get(p, 0.0)):.1f}" for side in sides),
            *(f"{of(long, lambda r, p=part: r.cpu_of(p)):.1f}" for long, _ in sides),
        ]
        for part in PARTS
    ]
    total = ["**together, without the engine**", *(f"**{step_cpu(*side):.1f}**" for side in sides)]
    heads = ["CPU ms, by part", "bare, a step", "diwan, a step", "bare, whole runs", "diwan, whole runs"]
    whole = [f"{of(long, lambda r: _cpu_of_all(r) / r.all_steps):.1f}" for long, _ in sides]
    return table(["", "bare", "diwan"], rows) + "\n\n" + table(heads, [*parts, [*total, *whole]])


def profile_table(profiles: Mapping[str, Mapping[str, float]]) -> str:
    areas = list(dict.fromkeys(area for shares in profiles.values() for area in shares))
    rows = [[area, *(f"{shares.get(area, 0.0):.0%}" for shares in profiles.values())] for area in areas]
    return table(["", *profiles], rows)


def sizes_table(sizes: Mapping[str, Sequence[Round]]) -> str:
    rows = [
        [name, *_measures(rounds), f"{of(rounds, lambda r: r.wal.bytes / r.all_steps):.0f}"]
        for name, rounds in sizes.items()
    ]
    return table(["dossier", *_MEASURES, "WAL bytes a step"], rows)


def rival_table(sides: Mapping[str, Sequence[Round]]) -> str:
    rows = [
        [name, *_measures(rounds), f"{of(rounds, lambda r: r.events / r.steps):.1f}"] for name, rounds in sides.items()
    ]
    return table(["", *_MEASURES, "events a step"], rows)


_MEASURES = ("steps/s", "CPU ms a step", "history bytes a step")


def _measures(rounds: Sequence[Round]) -> list[str]:
    return [
        f"{of(rounds, lambda r: r.steps_a_second):.1f}",
        f"{cpu(rounds):.1f}",
        f"{of(rounds, lambda r: r.history_bytes / r.steps):.0f}",
    ]


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [
            each.what,
            each.found,
            each.wanted,
            "gate" if each.gate else "goal",
            "holds" if each.holds else "**falls short**",
        ]
        for each in verdicts
    ]
    return table(["", "found", "wanted", "", ""], rows)


def machine() -> str:
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    gib = int(memory.split()[1]) / 2**20
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({name}), {gib:.0f} GiB memory, {system}"


def rival_version(python: Path) -> str:
    asked = "from importlib.metadata import version; print(version('pydantic-ai-slim'))"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """The commit that was measured, and whether the tree differed from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout

    changed = git("status", "--porcelain", "--", ":/", ":!/bench/RESULTS.md").strip()
    return git("rev-parse", "--short=12", "HEAD").strip() + (" with uncommitted changes" if changed else "")


def finish(name: str, section: str, judged: Sequence[Verdict]) -> int:
    """Prints a section and writes it into RESULTS.md; the exit status: 1 where a gate does not hold."""
    sys.stdout.write(section + "\n")
    write_section(RESULTS, f"bench, {name}", section)
    return 0 if all(each.holds for each in judged if each.gate) else 1


def write_section(file: Path, name: str, text: str, *, by: str = "the bench") -> None:
    """Puts `text` between the marks of section `name`, which come at the end where the file has none."""
    begin, end = f"<!-- {name}: written by {by} -->", f"<!-- end of {name} -->"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if begin not in before:
        before = f"{before.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    head, _, rest = before.partition(begin)
    _, _, tail = rest.partition(end)
    file.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")
