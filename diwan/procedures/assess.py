"""What a procedure's rules say of the facts of a case. Pure: the same facts give the same assessment, always.

Nothing is guessed: a value that is unknown or in conflict leaves open whatever depends on it, and a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from diwan.domain.decision import Assessment, Conflict, RuleOutcome
from diwan.domain.errors import InvalidInput
from diwan.domain.facts import Fact, FactValue, Provenance
from diwan.domain.text import Language
from diwan.procedures.crosscheck import fact_types
from diwan.procedures.guards import CompiledGuard, compile_guard
from diwan.procedures.parts import FactDeclaration
from diwan.procedures.schema import MISSING_PIECES, Procedure
from diwan.procedures.values import read_value, same_value, show_value

_STRENGTH = (Provenance.DECLARED, Provenance.DOCUMENT, Provenance.REGISTRY)


@dataclass(frozen=True)
class Weighed:
    """The facts of a case as the rules see them: at most one fact a name, and the names that are in conflict."""

    facts: dict[str, Fact]
    conflicts: list[Conflict]

    @property
    def values(self) -> dict[str, FactValue]:
        return {name: fact.value for name, fact in self.facts.items()}


def weigh(procedure: Procedure, facts: Sequence[Fact]) -> Weighed:
    """Which fact counts for each name, of the current ones (one a provenance; the last, where there are more).

    A person's counts over all others; then register over document over declaration, unless they must agree. A value
    that is not of the declared type counts as unknown.
    """
    counting: dict[str, Fact] = {}
    conflicts: list[Conflict] = []
    for name, declared in procedure.facts.items():
        readable = [read for fact in facts if fact.name == name and (read := _read(declared, fact))]
        by_person = [fact for fact in readable if fact.by_person]
        given = {fact.provenance: fact for fact in readable}
        if by_person:
            counting[name] = by_person[-1]
        elif declared.must_agree and _differ(given):
            conflicts.append(Conflict(fact=name, values={source: fact.value for source, fact in given.items()}))
        elif given:
            counting[name] = given[max(given, key=_STRENGTH.index)]
    return Weighed(counting, conflicts)


def _read(declared: FactDeclaration, fact: Fact) -> Fact | None:
    try:
        return fact.model_copy(update={"value": read_value(declared.type, fact.value)})
    except InvalidInput:
        return None


def _differ(given: Mapping[Provenance, Fact]) -> bool:
    values = [fact.value for fact in given.values()]
    return any(not same_value(values[0], value) for value in values[1:])


def assess(
    procedure: Procedure,
    facts: Sequence[Fact],
    pieces: Mapping[str, str],
    unreadable: Collection[str] = (),
    *,
    pieces_requested: int = 0,
) -> Assessment:
    """Apply the rules.

    `facts` are the current ones; `pieces` maps piece names to document ids; `unreadable` holds ids of documents, or
    names of pieces, that could not be read; `pieces_requested` is `CaseState.pieces_requested`.

    The result is None while anything it depends on is open. Pieces come first: never asked for, they leave all open;
    asked for in vain, they give `still_missing`'s result. Then the first rule that surely does not hold gives the
    result, whatever else is unknown. Only when every rule holds do the outcomes count. `unknown` names what a person
    would have to establish, the facts of an unreadable piece included.
    """
    weighed = weigh(procedure, facts)
    guards = _guards(procedure)
    holds = {name: guard.holds(weighed.values) for name, guard in guards.items()}
    missing = [piece for piece in procedure.required_pieces if not pieces.get(piece)]
    unread = _unread(procedure, weighed, pieces, unreadable)
    outcome, still_open = _outcome(procedure, weighed)
    still_open += [guards[name] for name, answer in holds.items() if answer is None]

    result, amount, grounds = None, None, list[str]()
    broken = [name for name, answer in holds.items() if answer is False]
    if missing:
        if pieces_requested:
            result, grounds = procedure.still_missing.result, [MISSING_PIECES]
    elif unread:
        pass  # what cannot be read may say anything: a person reads it
    elif broken:
        result = procedure.rules[broken[0]].otherwise
        grounds = [name for name in broken if procedure.rules[name].otherwise == result]
    elif outcome and not weighed.conflicts and None not in holds.values():
        chosen = procedure.outcomes[outcome]
        result, amount, grounds = chosen.result, chosen.amount, [outcome]

    return Assessment(
        result=result,
        amount=amount,
        rules=[RuleOutcome(rule=name, holds=answer) for name, answer in holds.items()],
        grounds=grounds,
        unknown=_unknown(procedure, weighed, still_open, unread),
        conflicts=weighed.conflicts,
        missing_pieces=missing,
        unreadable_pieces=unread,
        declared_only=_declared_only(procedure, weighed),
    )


def _guards(procedure: Procedure) -> dict[str, CompiledGuard]:
    types = fact_types(procedure)
    return {name: compile_guard(rule.when, types) for name, rule in procedure.rules.items()}


def _outcome(procedure: Procedure, weighed: Weighed) -> tuple[str, list[CompiledGuard]]:
    """The first outcome that applies; or no name, and the guard that stays open."""
    for name, outcome in procedure.outcomes.items():
        if outcome.when is None:
            return name, []
        guard = compile_guard(outcome.when, fact_types(procedure))
        answer = guard.holds(weighed.values)
        if answer is not False:
            return (name, []) if answer else ("", [guard])
    return "", []


def _unknown(
    procedure: Procedure, weighed: Weighed, still_open: Sequence[CompiledGuard], unread: Sequence[str]
) -> list[str]:
    """What a person would have to establish before the rules can tell, conflicts apart."""
    needed = {fact for guard in still_open for fact in guard.uses if fact not in weighed.facts}
    needed |= {
        fact for piece in unread for fact in procedure.facts_of_piece(piece) if not _shown(weighed.facts.get(fact))
    }
    in_conflict = {conflict.fact for conflict in weighed.conflicts}
    return [name for name in procedure.facts if name in needed - in_conflict]


def _unread(
    procedure: Procedure, weighed: Weighed, pieces: Mapping[str, str], unreadable: Collection[str]
) -> list[str]:
    """Pieces that could not be read and whose facts nobody has established otherwise."""
    return [
        piece
        for piece in procedure.pieces
        if (document := pieces.get(piece))
        and (piece in unreadable or document in unreadable)
        and any(not _shown(weighed.facts.get(fact)) for fact in procedure.facts_of_piece(piece))
    ]


def _shown(fact: Fact | None) -> bool:
    return fact is not None and (fact.by_person or fact.provenance is not Provenance.DECLARED)


def used_facts(procedure: Procedure) -> set[str]:
    """Names of the facts that a rule or an outcome looks at."""
    types = fact_types(procedure)
    conditions = [rule.when for rule in procedure.rules.values()]
    conditions += [outcome.when for outcome in procedure.outcomes.values() if outcome.when]
    return {fact for text in conditions for fact in compile_guard(text, types).uses}


def _declared_only(procedure: Procedure, weighed: Weighed) -> list[str]:
    used = used_facts(procedure)
    return [
        name
        for name, declared in procedure.facts.items()
        if name in used and declared.source.provable and name in weighed.facts and not _shown(weighed.facts[name])
    ]


def ground_text(procedure: Procedure, ground_id: str, facts: Sequence[Fact], language: Language) -> str:
    """The reason behind an id of `Assessment.grounds`, with the facts' values in place of `{fact}`.

    A fact that is unknown shows as `…`. Raises `NotFound` for an id that the procedure has not.
    """
    weighed = weigh(procedure, facts)
    shown = {
        name: show_value(weighed.facts[name].value, language) if name in weighed.facts else "…"
        for name in procedure.facts
    }
    return procedure.ground(ground_id).ground.in_(language).format_map(shown)


def view_of(assessment: Assessment) -> dict[str, FactValue]:
    """What the guards of transitions see of an assessment (`flow.after_step`'s `view`)."""
    return {
        "missing": len(assessment.missing_pieces),
        "unreadable": len(assessment.unreadable_pieces),
        "conflicts": len(assessment.conflicts),
        "unknown": len(assessment.unknown),
        "undetermined": assessment.result is None,
        "result": assessment.result.value if assessment.result else "",
    }
