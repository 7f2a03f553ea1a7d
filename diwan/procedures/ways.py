"""Checks of the ways a case can take: no outcome without a next step, no case without an end, no endless round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diwan.domain.case import StepKind
from diwan.domain.errors import InvalidInput
from diwan.procedures.findings import Findings, Path, listed
from diwan.procedures.guards import compile_guard
from diwan.procedures.parts import ValueType
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import (
    ActStep,
    LetterKind,
    Nature,
    Period,
    Step,
    TaskStep,
    Transition,
    Trigger,
    Unit,
    WaitStep,
    outcomes_of,
)

# What the guards of transitions may speak of. Those of STATE are known at any time; the rest only when a step ends.
STATE: dict[str, ValueType] = {"pieces_requested": ValueType.INTEGER, "visit": ValueType.INTEGER}
VIEW: dict[str, ValueType] = {
    **STATE,
    "missing": ValueType.INTEGER,
    "unreadable": ValueType.INTEGER,
    "conflicts": ValueType.INTEGER,
    "unknown": ValueType.INTEGER,
    "undetermined": ValueType.BOOLEAN,
    "result": ValueType.TEXT,
}


def check_ways(procedure: Procedure, found: Findings) -> None:
    """Add an error to `found` for everything that could leave a case without a next step."""
    if _names(procedure, found):  # the rest follows names, so they have to lead somewhere
        _transitions(procedure, found)
        _ways_to_the_end(procedure, found)
        _reminders(procedure, found)


def exists(name: str, among: Iterable[str], what: str, path: Path, found: Findings) -> bool:
    """Whether `name` is among these; an error where not."""
    if name in (names := list(among)):
        return True
    found.error("name.unknown", path, f"`{name}` is not among the {what}.", f"There are: {listed(names)}.")
    return False


def check_guard(text: str, types: Mapping[str, ValueType], path: Path, found: Findings) -> None:
    """An error where `text` is no condition over `types`."""
    try:
        compile_guard(text, types)
    except InvalidInput as error:
        found.error("guard", path, error.message, error.remedy)


def _names(procedure: Procedure, found: Findings) -> bool:
    before = len(found.errors)
    if exists(procedure.start, procedure.steps, "steps", ("start",), found) and (
        procedure.steps[procedure.start].kind is StepKind.END
    ):
        found.error("start", ("start",), "A case cannot start at its end.")
    for name, step in procedure.steps.items():
        for index, transition in enumerate(step.next):
            exists(transition.to, procedure.steps, "steps", ("steps", name, "next", index, "to"), found)
        if isinstance(step, WaitStep):
            exists(step.period, procedure.periods, "periods", ("steps", name, "period"), found)
        for index, reminder in enumerate(step.remind if isinstance(step, TaskStep) else []):
            exists(reminder.period, procedure.periods, "periods", ("steps", name, "remind", index, "period"), found)
    for index, transition in enumerate(procedure.on_event):
        path: Path = ("on_event", index)
        for step in (transition.to, *transition.at, *transition.not_at):
            exists(step, procedure.steps, "steps", path, found)
    for name, period in procedure.periods.items():
        _period(name, period, procedure, found)
    return len(found.errors) == before


def _period(name: str, period: Period, procedure: Procedure, found: Findings) -> None:
    path: Path = ("periods", name)
    for moment in ("start", "suspend", "resume", "end"):
        triggers: list[Trigger] = getattr(period, moment)
        for index, trigger in enumerate(triggers):
            for step in filter(None, (trigger.enter, trigger.leave)):
                exists(step, procedure.steps, "steps", (*path, moment, index), found)
    awaited = any(isinstance(step, WaitStep) and step.period == name for step in procedure.steps.values())
    if period.nature is Nature.TARGET and (period.on_expiry or awaited):
        found.error("period.nature", path, "A target has no effect: it cannot lead to a step.", "Make it fatal.")
    if period.nature is Nature.FATAL and not (period.on_expiry or awaited):
        found.error("period.on_expiry", path, "Nothing follows when this period ends.", "Name `on_expiry`.")
    if not period.start and not awaited:
        found.error("period.start", path, "Nothing starts this period.", "Name `start`.")
    if period.suspend and awaited:
        found.error("period.suspend", path, "A period that a step awaits cannot stand still: the wait might not end.")
    if bool(period.suspend) != bool(period.resume):
        found.error("period.suspend", path, "What is suspended has to resume, and the other way round.")
    if period.on_expiry and exists(period.on_expiry, procedure.steps, "steps", (*path, "on_expiry"), found):
        ends = procedure.steps[period.on_expiry].kind is StepKind.END
        if ends and not (period.silence and period.silence.result):
            found.error("period.silence", path, "The case would end without a result.", "Give `silence.result`.")


def is_request(step: Step) -> bool:
    """Whether this step is the letter that asks for pieces, which may go out once only."""
    return isinstance(step, ActStep) and step.letter is LetterKind.REQUEST_FOR_PIECES


def _transitions(procedure: Procedure, found: Findings) -> None:
    for name, step in procedure.steps.items():
        for index, transition in enumerate(step.next):
            _transition(procedure, name, step, index, transition, found)
        for outcome in outcomes_of(step):
            if not any(_always(procedure, transition, outcome) for transition in step.next):
                found.error(
                    "step.next",
                    ("steps", name, "next"),
                    f"Outcome `{outcome}` may find no way on.",
                    "End the list with a `to` without `when`, to a step that may be entered at any time.",
                )
    for index, event in enumerate(procedure.on_event):
        path: Path = ("on_event", index)
        target = procedure.steps[event.to]
        if target.kind is StepKind.END and event.result is None:
            found.error("step.result", path, "The case would end without a result.", "Name `result`.")
        if is_request(target):
            found.error("on_event.request", path, "An event cannot send the request for pieces.")


def _always(procedure: Procedure, transition: Transition, outcome: str) -> bool:
    """Pieces may be asked for once: a way to that letter is not always open."""
    return (
        transition.when is None
        and (not transition.on or outcome in transition.on)
        and not is_request(procedure.steps[transition.to])
    )


def _transition(
    procedure: Procedure, name: str, step: Step, index: int, transition: Transition, found: Findings
) -> None:
    path: Path = ("steps", name, "next", index)
    possible = outcomes_of(step)
    for outcome in transition.on:
        if outcome not in possible:
            found.error("step.outcome", (*path, "on"), f"`{outcome}` cannot happen here.", f"{listed(possible)} can.")
    if transition.when is not None:
        types = STATE if isinstance(step, WaitStep) else VIEW
        check_guard(transition.when, types, (*path, "when"), found)
    decides = isinstance(step, ActStep) and step.letter is LetterKind.DECISION
    if decides and transition.result is not None:
        found.error("step.result", path, "The decision gives the result.", "Remove `result`.")
    if procedure.steps[transition.to].kind is StepKind.END and not decides and transition.result is None:
        found.error("step.result", path, "The case would end without a result.", "Name `result`.")


def _reminders(procedure: Procedure, found: Findings) -> None:
    """An applicant is reminded of what a letter asked for, on a day of the time that it gave."""
    for name, step in procedure.steps.items():
        if not isinstance(step, WaitStep) or not step.remind:
            continue
        path: Path = ("steps", name, "remind")
        into = [other for other in procedure.steps if name in successors(procedure, other)]
        unasked = {event.to for event in procedure.on_event} | {each.on_expiry for each in procedure.periods.values()}
        if name in unasked or not all(is_request(procedure.steps[other]) for other in into):
            found.error(
                "remind.unasked",
                path,
                "Nothing was asked of the applicant here.",
                "A wait that reminds follows a `request_for_pieces` letter, and nothing else leads to it.",
            )
        period = procedure.periods[step.period]
        for index, reminder in enumerate(step.remind):
            if period.unit is not Unit.MONTHS and reminder.before >= period.length:
                found.error("remind.before", (*path, index), f"{step.period} is not that long.", "Give fewer days.")


def successors(procedure: Procedure, name: str) -> list[str]:
    """Steps that may come next by a transition of the step, without events and dates."""
    return [transition.to for transition in procedure.steps[name].next]


def _ways_to_the_end(procedure: Procedure, found: Findings) -> None:
    leads = {name for name, step in procedure.steps.items() if step.kind is StepKind.END}
    grown = True
    while grown:
        more = {name for name in procedure.steps if leads.intersection(successors(procedure, name))} - leads
        grown = bool(more)
        leads |= more
    for name in procedure.steps:
        if name not in leads:
            found.error("step.no_end", ("steps", name), "No way leads from here to an end.")
        if _returns_unattended(procedure, name):
            found.error(
                "step.loop", ("steps", name), "The case could go round here for ever.", "Put a task or wait in between."
            )


def _returns_unattended(procedure: Procedure, name: str) -> bool:
    """Whether the step can come back to itself through letters and agents alone."""
    automatic = (StepKind.ACT, StepKind.AGENT)
    seen: set[str] = set()
    todo = [name] if procedure.steps[name].kind in automatic else []
    while todo:
        for step in successors(procedure, todo.pop()):
            if step == name:
                return True
            if step not in seen and procedure.steps[step].kind in automatic:
                seen.add(step)
                todo.append(step)
    return False
