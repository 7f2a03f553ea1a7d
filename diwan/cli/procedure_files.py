"""Owns what `diwan procedure` does with files: everything here works without a service. Gives plain JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from diwan.cli.dossier import read_dossier
from diwan.domain.errors import DiwanError, InvalidInput, NotFound
from diwan.domain.facts import Fact, Provenance
from diwan.domain.text import Language
from diwan.procedures import diff as differences
from diwan.procedures import form, load, show
from diwan.procedures import lint as linter
from diwan.procedures import simulate as simulation
from diwan.procedures.assess import assess
from diwan.procedures.examples import example_names, example_text
from diwan.procedures.findings import Finding, Level
from diwan.procedures.golden import golden_set_digest
from diwan.procedures.parts import FactDeclaration
from diwan.procedures.periods import calendar_of
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import EXPIRED, outcomes_of
from diwan.procedures.values import read_value

_DOSSIERS = "dossiers"

Json = dict[str, Any]
Pairs = Sequence[tuple[str, str]]


def text_of(file: str) -> str:
    """The YAML of a file, or of a shipped procedure. Raises NotFound, InvalidInput."""
    path = Path(file)
    if not path.exists() and file in example_names():
        return example_text(file)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("cli.not_utf8", f"{file} is not UTF-8.", "Save it as UTF-8.") from None
    except OSError as error:
        raise NotFound(
            "cli.no_such_procedure",
            f"{file} is neither a file that can be read nor a shipped procedure ({error.strerror}).",
            f"Shipped: {', '.join(example_names())}.",
        ) from None


def check(text: str) -> Procedure:
    """The procedure. Raises InvalidInput that names line and field of each problem."""
    return load.load_procedure(text)


def lint(file: str) -> list[Json]:
    text = text_of(file)
    found = linter.lint(text)
    if not any(finding.level is Level.ERROR for finding in found):
        found += _golden_set(text, Path(file).parent / _DOSSIERS)
    return [finding.model_dump(mode="json") for finding in found]


def golden(folder: Path) -> Json:
    """The digest of the dossiers in `folder`, and how many they are. Raises NotFound, InvalidInput."""
    return {"golden_set": golden_set_digest(folder), "dossiers": len(list(folder.glob("*/expected.json")))}


def _golden_set(text: str, dossiers: Path) -> list[Finding]:
    """A doubt where the dossiers beside the file are not those that the procedure names."""
    procedure, found = load.check_text(text)
    wanted = procedure.models.golden_set if procedure else None
    if wanted is None or not dossiers.is_dir() or golden_set_digest(dossiers) == wanted:
        return []
    found.warn(
        "models.golden_set",
        ("models", "golden_set"),
        "The dossiers beside this file are not the golden set that it names.",
        "Have models judged by them, then name what `diwan procedure golden` prints.",
    )
    return found.found


def outline(file: str, language: str) -> list[Json]:
    return [line.model_dump(mode="json") for line in show.outline(check(text_of(file)), Language(language))]


def answers_schema(file: str) -> Json:
    return form.answers_schema(check(text_of(file)))


def diff(old: str, new: str) -> list[Json]:
    found = differences.diff(check(text_of(old)), check(text_of(new)))
    return [change.model_dump(mode="json") for change in found]


def simulate(
    file: str, *, dossier: Path | None, facts: Pairs, pieces: Sequence[str], outcomes: Pairs, now: datetime
) -> list[Json]:
    """The steps of a case. Without a dossier and pieces, every required piece counts as handed in.

    Raises InvalidInput for names and values that the procedure does not know, and for a procedure in which `lint` finds
    an error: on paper it would go on where a case could not.
    """
    text = text_of(file)
    procedure = check(text)
    linter.refuse_unpublishable(text)
    today = calendar_of(procedure).day_of(now)
    given = dict.fromkeys(pieces, "given")
    held: list[Fact] = []
    if dossier is not None:
        read = read_dossier(dossier)
        _check_answers(procedure, read.application["answers"])
        held += form.declared_facts(procedure, read.application["answers"], today)
        given |= {file.piece: file.name for file in read.files if file.piece}
    elif not pieces:
        given = dict.fromkeys(procedure.required_pieces, "given")
    unknown = [name for name in given if name not in procedure.pieces]
    if unknown:
        raise InvalidInput(
            "simulation.piece", f"No such piece: {', '.join(unknown)}.", f"There are: {', '.join(procedure.pieces)}."
        )
    held += [_fact(procedure, name, value, now) for name, value in facts]
    story = _play(procedure, held, given, _by_step(procedure, outcomes), now)
    return [step.model_dump(mode="json") for step in story]


def _play(
    procedure: Procedure, facts: list[Fact], pieces: dict[str, str], outcomes: dict[str, list[str]], now: datetime
) -> list[simulation.SimulatedStep]:
    try:
        return simulation.simulate(procedure, facts, pieces, outcomes, now=now, calendar=calendar_of(procedure))
    except DiwanError as error:
        said = assess(procedure, facts, pieces, (), pieces_requested=1)
        if said.result is not None or error.code != "step.result_missing":
            raise
        wanting = [*said.unknown, *(conflict.fact for conflict in said.conflicts)]
        raise InvalidInput(
            "simulation.undetermined",
            "The rules cannot say how this case ends, and the step to decide it was reached.",
            f"Give facts, e.g. {' '.join(f'--fact {name}=…' for name in wanting)}, or other outcomes.",
        ) from None


def _check_answers(procedure: Procedure, answers: Json) -> None:
    wrong = form.check_answers(procedure, answers)
    if wrong:
        lines = [f"{error.pointer or '/'}: {error.message} {error.remedy}".strip() for error in wrong]
        raise InvalidInput("dossier.answers", "The answers are not as the form asks.", "\n".join(lines))


def _fact(procedure: Procedure, name: str, value: str, now: datetime) -> Fact:
    declared = procedure.facts.get(name)
    if declared is None:
        raise InvalidInput("simulation.fact", f"No such fact: {name}.", f"There are: {', '.join(procedure.facts)}.")
    return Fact(
        name=name,
        value=read_value(declared.type, value),
        provenance=_best_provenance(declared),
        as_of=calendar_of(procedure).day_of(now),
        established_by="simulation",
    )


def _best_provenance(declared: FactDeclaration) -> Provenance:
    """Where the fact comes from when it is shown as well as it can be."""
    if declared.source.registry:
        return Provenance.REGISTRY
    return Provenance.DOCUMENT if declared.source.pieces else Provenance.DECLARED


def _by_step(procedure: Procedure, outcomes: Pairs) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    events = {transition.event for transition in procedure.on_event}
    for name, outcome in outcomes:
        step = procedure.steps.get(name)
        if step is None:
            raise InvalidInput("simulation.step", f"No such step: {name}.", f"There are: {', '.join(procedure.steps)}.")
        if outcome not in {*outcomes_of(step), *events, EXPIRED}:
            raise InvalidInput(
                "simulation.outcome",
                f"Step {name} cannot end with {outcome!r}.",
                f"It can with: {', '.join([*outcomes_of(step), *sorted(events), EXPIRED])}.",
            )
        found[name].append(outcome)
    return found
