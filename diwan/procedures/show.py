"""A procedure in words, for someone who will not read the file: what is asked, weighed, decided, and by when."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from diwan.domain.ports import RetentionClass
from diwan.domain.text import Language
from diwan.procedures.parts import FactDeclaration
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import Period, StaffReminder, Step, TaskStep, Transition, WaitStep


class Line(BaseModel):
    """`section` is a field of the file (`rules`), `name` what stands there, `text` in the language asked for."""

    model_config = ConfigDict(frozen=True)

    section: str
    name: str
    text: str
    detail: str = ""


def outline(procedure: Procedure, language: Language) -> list[Line]:
    """The procedure line by line, in the order of the file. Details are in the words of the file itself."""
    return list(_lines(procedure, language))


def _lines(procedure: Procedure, language: Language) -> Iterator[Line]:
    yield Line(
        section="procedure", name=procedure.name, text=procedure.title.in_(language), detail=f"v{procedure.version}"
    )
    for name, field in procedure.form.items():
        detail = ", ".join([field.type.value, *(["required"] if field.required else [])])
        yield Line(section="form", name=name, text=field.label.in_(language), detail=detail)
    for name, piece in procedure.pieces.items():
        detail = "required" if piece.required else ""
        yield Line(section="pieces", name=name, text=piece.label.in_(language), detail=detail)
    for name, fact in procedure.facts.items():
        yield Line(section="facts", name=name, text=fact.label.in_(language), detail=_sources(fact))
    for name, rule in procedure.rules.items():
        detail = f"{rule.when}, otherwise {rule.otherwise.value}"
        yield Line(section="rules", name=name, text=rule.label.in_(language), detail=detail)
    for name, outcome in procedure.outcomes.items():
        amount = f" {outcome.amount} {procedure.currency}" if outcome.amount is not None else ""
        detail = f"{outcome.when or 'otherwise'}: {outcome.result.value}{amount}"
        yield Line(section="outcomes", name=name, text=outcome.label.in_(language), detail=detail)
    for name, period in procedure.periods.items():
        yield Line(section="periods", name=name, text=period.label.in_(language), detail=_period(period))
    for name, step in procedure.steps.items():
        yield Line(section="steps", name=name, text=step.label.in_(language), detail=_step(step))
    for retention in RetentionClass:
        keep = procedure.keep(retention)
        basis = keep.legal_basis.in_(language) if keep.legal_basis else ""
        detail = f"kept {keep.length} {keep.unit} after {keep.after}"
        yield Line(section="retention", name=retention.value, text=basis, detail=detail)


def _sources(fact: FactDeclaration) -> str:
    source = fact.source
    names = [f"form {source.form}"] if source.form else []
    names += [f"piece {piece}" for piece in source.pieces]
    names += [source.registry] if source.registry else []
    return f"{fact.type.value} from {', '.join(names)}" + (", must agree" if fact.must_agree else "")


def _period(period: Period) -> str:
    effect = f", silence: {period.silence.result.value}" if period.silence and period.silence.result else ""
    return f"{period.nature.value}, {period.length} {period.unit.value}{effect}"


def _step(step: Step) -> str:
    who = f" by {'/'.join(step.roles)}" if isinstance(step, TaskStep) else ""
    awaits = f" for {'/'.join(step.events)} or {step.period}" if isinstance(step, WaitStep) else ""
    reminded = ""
    if isinstance(step, WaitStep):
        reminded = "".join(f", reminder {each.before} working days before {step.period}" for each in step.remind)
    elif isinstance(step, TaskStep):
        reminded = "".join(_reminder(each) for each in step.remind)
    ways = "; ".join(_way(transition) for transition in step.next)
    return f"{step.kind.value}{who}{awaits}{reminded}" + (f": {ways}" if ways else "")


def _reminder(reminder: StaffReminder) -> str:
    when = f"{reminder.before} working days before" if reminder.before else f"{reminder.after} working days after"
    return f", reminder {when} {reminder.period}" + (f" to {'/'.join(reminder.to)}" if reminder.to else "")


def _way(transition: Transition) -> str:
    on = f"{'/'.join(transition.on)} " if transition.on else ""
    when = f"if {transition.when} " if transition.when else ""
    return f"{on}{when}→ {transition.to}"
