"""A second look at a procedure that loads: what is dead, untranslated or likely a slip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import cast

from diwan.domain.case import StepKind
from diwan.domain.erasure import LONGEST_BASIS
from diwan.domain.errors import InvalidInput
from diwan.domain.ports import RetentionClass
from diwan.domain.text import Language, Localized
from diwan.procedures.assess import used_facts
from diwan.procedures.crosscheck import grounds, placeholders
from diwan.procedures.findings import Finding, Findings, Level, Path
from diwan.procedures.load import check_text, refuse
from diwan.procedures.once import decided_again
from diwan.procedures.parts import Declared
from diwan.procedures.retention import shortest_days
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import Nature, Trigger, WaitStep, outcomes_of

_ARABIC = re.compile(r"[\u0600-\u06ff]")
_LATIN = re.compile(r"[A-Za-zÀ-ÿ]")
_LONG = 30  # texts this long are not the same in two languages by chance


def lint(text: str) -> list[Finding]:
    """Errors and warnings of a procedure file, by line. No error means that it loads and can be published."""
    return list(_lint(text))


def refuse_unpublishable(text: str) -> None:
    """Raises `InvalidInput` (`procedure.invalid`) for a file that loads and has errors all the same.

    What was published before somebody looked for them goes on: loading does not ask.
    """
    refuse([finding for finding in _lint(text) if finding.level is Level.ERROR])


@lru_cache(maxsize=32)  # publishing asks again, what a page or a caller was told before
def _lint(text: str) -> tuple[Finding, ...]:
    try:
        procedure, found = check_text(text)
    except InvalidInput as error:  # not YAML that we take: the message has the line
        found = Findings()
        line = re.match(r"line (\d+): ", error.message)
        found.error("yaml", (), error.message, error.remedy)
        return (found.found[0].model_copy(update={"line": int(line[1]) if line else 0}),)
    if procedure is not None:
        for path, each in texts(procedure):
            _text(path, each, found)
        if not found.errors:
            _steps(procedure, found)
            _decisions(procedure, found)
            _transitions(procedure, found)
            _periods(procedure, found)
            _facts(procedure, found)
            _grounds(procedure, found)
            _retention(procedure, found)
    return tuple(sorted(found.found, key=lambda finding: (finding.line, finding.place)))


def texts(part: object, path: Path = ()) -> Iterator[tuple[Path, Localized]]:
    """Every text in three languages, with its path."""
    if isinstance(part, Localized):
        yield path, part
    elif isinstance(part, Declared):
        for name, field in type(part).model_fields.items():
            yield from texts(getattr(part, name), (*path, field.alias or name))
    elif isinstance(part, Mapping):
        for key, value in cast("Mapping[str, object]", part).items():
            yield from texts(value, (*path, key))
    elif isinstance(part, list):
        for index, value in enumerate(cast("list[object]", part)):
            yield from texts(value, (*path, index))


def _text(path: Path, text: Localized, found: Findings) -> None:
    for language in ("ar", "fr", "en"):
        each: str = getattr(text, language)
        if not each.strip():
            found.error("text.empty", (*path, language), "This text is empty.", "Write it; every language counts.")
        elif language == "ar" and not _ARABIC.search(each):
            found.warn("text.script", (*path, language), "There is no Arabic in the Arabic text.", "Translate it.")
        elif language != "ar" and not _LATIN.search(each):
            found.warn("text.script", (*path, language), "There is no Latin letter in this text.", "Translate it.")
    if len(text.fr) > _LONG and text.fr == text.en:
        found.warn("text.same", path, "French and English are the same.", "Translate one of them.")


def reachable(procedure: Procedure) -> set[str]:
    """Steps that a case can come to: by transitions, events and dates."""
    reached = {procedure.start}
    while True:
        more = {transition.to for name in reached for transition in procedure.steps[name].next}
        more |= {event.to for event in procedure.on_event if any(event.listens_at(name) for name in reached)}
        more |= {period.on_expiry for period in procedure.periods.values() if period.on_expiry}
        if more <= reached:
            return reached
        reached |= more


def _steps(procedure: Procedure, found: Findings) -> None:
    for name in set(procedure.steps) - reachable(procedure):
        found.warn("step.unreachable", ("steps", name), "No case ever comes to this step.", "Remove it, or lead to it.")


def _decisions(procedure: Procedure, found: Findings) -> None:
    """A case has one decision, and the second is refused when it was signed already: the case stands still there."""
    for name, way in decided_again(procedure).items():
        found.error(
            "decision.twice",
            ("steps", name),
            f"A case can be decided here and come to a decision again, which it cannot have: {' → '.join(way)}.",
            "After the decision let every way, event and date lead to an end without another.",
        )


def _transitions(procedure: Procedure, found: Findings) -> None:
    for name, step in procedure.steps.items():
        open_outcomes = set(outcomes_of(step))
        for index, transition in enumerate(step.next):
            on = set(transition.on) or set(outcomes_of(step))
            if not on & open_outcomes:
                found.warn(
                    "transition.dead",
                    ("steps", name, "next", index),
                    "An earlier transition without `when` takes all that could come here.",
                    "Change their order, or remove this one.",
                )
            if transition.when is None:
                open_outcomes -= on
    for index, event in enumerate(procedure.on_event):
        earlier = procedure.on_event[:index]
        if any(before.event == event.event and not before.at and not before.not_at for before in earlier):
            found.warn("transition.dead", ("on_event", index), "An earlier entry takes this event everywhere.")


def _periods(procedure: Procedure, found: Findings) -> None:
    live = reachable(procedure)
    awaited = {step.period for name, step in procedure.steps.items() if isinstance(step, WaitStep) and name in live}
    for name, period in procedure.periods.items():
        if name not in awaited and not any(_can_happen(procedure, trigger, live) for trigger in period.start):
            found.warn("period.unstarted", ("periods", name), "No case ever starts this period.", "Check `start`.")
        if period.nature is Nature.FATAL and period.silence is None:
            found.warn(
                "period.silence", ("periods", name), "The applicant is not told what its end means.", "Add `silence`."
            )
    if not any(period.silence and period.silence.result for period in procedure.periods.values()):
        found.warn("period.decision", ("periods",), "No legal period for the decision: a receipt cannot name one.")


def _can_happen(procedure: Procedure, trigger: Trigger, live: set[str]) -> bool:
    if trigger.event is not None:
        return True
    step = trigger.enter or trigger.leave or ""
    return step in live and not (trigger.leave and procedure.steps[step].kind is StepKind.END)


def _facts(procedure: Procedure, found: Findings) -> None:
    used = used_facts(procedure)
    for name, fact in procedure.facts.items():
        path: Path = ("facts", name)
        if name not in used and not fact.must_agree:
            found.warn("fact.unused", path, "No rule or outcome looks at this fact.", "Use it, or do not collect it.")
        field = procedure.form.get(fact.source.form or "")
        if field and field.personal and not fact.personal:
            found.warn("fact.personal", path, "It comes from a personal answer but is not marked so.", "Mark it.")
    read = {piece for fact in procedure.facts.values() for piece in fact.source.pieces}
    for piece, declared in procedure.pieces.items():
        if declared.required and piece not in read:
            found.warn("piece.unused", ("pieces", piece), "No fact is read from this piece.", "Why ask for it?")


def _grounds(procedure: Procedure, found: Findings) -> None:
    """A ground goes into a letter, a log of rules and a register of decisions: personal values stay out of it."""
    for path, ground in grounds(procedure):
        for name in placeholders(ground.ground, path, found):
            if procedure.facts[name].personal:
                found.warn("ground.personal", (*path, "ground"), f"This reason repeats a personal value, {name}.")


def _retention(procedure: Procedure, found: Findings) -> None:
    """What somebody may still contest, or a court ask for, is not erased; nor what explains it before it."""
    section = "retention" if procedure.retention is not None else "retention_years"
    days = {retention: shortest_days(procedure.keep(retention)) for retention in RetentionClass}
    contest = procedure.appeal.administrative.days + procedure.appeal.court.days
    for retention in RetentionClass:
        path: Path = (section, retention.value)
        if retention is not RetentionClass.EXCHANGE and days[retention] < contest:
            found.error(
                "retention.before_contest",
                path,
                f"It is erased while the decision can still be contested: {contest} days, one way after the other.",
                "Keep it longer.",
            )
        if days[retention] > days[RetentionClass.DECISION]:
            found.error(
                "retention.decision_last",
                path,
                "It is kept longer than the decision, whose key seals why anything was done.",
                "Keep `decision` the longest.",
            )
        basis = procedure.keep(retention).legal_basis
        if basis is not None and any(len(basis.in_(each)) > LONGEST_BASIS for each in Language):
            found.error(
                "retention.basis_too_long",
                path,
                f"Its text has more than {LONGEST_BASIS} characters: no entry of the ledger holds that.",
                "Name the article and the act, no more.",
            )
        if section == "retention" and basis is None:
            found.warn("retention.basis", path, "No text says for how long this is kept.", "Add `legal_basis`.")
    if days[RetentionClass.EXCHANGE] > days[RetentionClass.EVIDENCE]:
        found.warn(
            "retention.exchange",
            (section, RetentionClass.EXCHANGE.value),
            "What models were told outlives the documents that it quotes.",
            "Keep it no longer than `evidence`.",
        )
    if section == "retention_years":
        found.warn("retention.basis", (section,), "No text says for how long data are kept.", "Write `retention`.")
