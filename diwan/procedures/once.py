"""What happens once in the life of a case: its decision. Finds the ways on which a case would be decided again."""

from __future__ import annotations

from collections.abc import Iterator

from diwan.domain.case import StepKind
from diwan.domain.event import APPLICATION_SUBMITTED
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import ActStep, LetterKind, Period, Trigger, WaitStep


def decided_again(procedure: Procedure) -> dict[str, list[str]]:
    """For each step that issues the decision, a shortest way from there to one that would issue another.

    Whatever conditions say: they are not weighed here. A step that was broken off has issued nothing, so a way begins
    by the step's own end. The service keeps one decision a case, and has none that corrects it.
    """
    deciding = [name for name, step in procedure.steps.items() if _decides(step)]
    found = {name: _way(procedure, name, deciding) for name in deciding}
    return {name: way for name, way in found.items() if way}


def _decides(step: object) -> bool:
    return isinstance(step, ActStep) and step.letter is LetterKind.DECISION


def _way(procedure: Procedure, decided: str, deciding: list[str]) -> list[str]:
    passed: frozenset[str] = frozenset()
    while True:  # a period may begin on a step that is found late, and run on one that was found before
        came_from = _reached(procedure, decided, passed)
        if passed == came_from.keys():
            break
        passed = frozenset(came_from)
    step = next((step for step in came_from if step in deciding), None)
    way: list[str] = []
    while step is not None and (step != decided or not way):
        way = [step, *way]
        step = came_from[step]
    return [decided, *way] if way else []


def _reached(procedure: Procedure, decided: str, passed: frozenset[str]) -> dict[str, str]:
    """Every step that a case may come to after the decision, the nearest first, by the step before it."""
    came_from: dict[str, str] = {}
    todo = [(decided, each.to) for each in procedure.steps[decided].next]
    while todo:
        before, step = todo.pop(0)
        if step not in came_from:
            came_from[step] = before
            todo += [(step, to) for to in _from(procedure, decided, step, passed)]
    return came_from


def _from(procedure: Procedure, decided: str, step: str, passed: frozenset[str]) -> Iterator[str]:
    """Where a case may go from an open step: by the step's own end, by an event, by a date."""
    here = procedure.steps[step]
    if here.kind is StepKind.END:
        return
    yield from (transition.to for transition in here.next)
    awaited = here.events if isinstance(here, WaitStep) else []
    yield from (event.to for event in procedure.on_event if event.listens_at(step) and event.event not in awaited)
    for name, period in procedure.periods.items():
        waits = isinstance(here, WaitStep) and here.period == name  # and is left by its own `expired`
        if period.on_expiry and not waits and _may_run(procedure, name, period, decided, passed):
            yield period.on_expiry


def _may_run(procedure: Procedure, name: str, period: Period, decided: str, passed: frozenset[str]) -> bool:
    """Whether the period may be under way after the decision: that did not end it, or it begins with it or later."""
    if not any(decided in (trigger.enter, trigger.leave) for trigger in period.end):
        return True
    waits = [step for each in passed if isinstance(step := procedure.steps[each], WaitStep)]
    return any(step.period == name for step in waits) or any(
        _begins(trigger, {decided, *passed}) for trigger in period.start
    )


def _begins(trigger: Trigger, steps: set[str]) -> bool:
    """On one of these steps, or by an event that comes meanwhile: not by the application, which came before, once."""
    if trigger.event is not None:
        return trigger.event != APPLICATION_SUBMITTED
    return trigger.enter in steps or trigger.leave in steps
