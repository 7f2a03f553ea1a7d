"""What one model cannot see alone: names that must exist, guards that must compile. All of it errors."""

from __future__ import annotations

import string
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from diwan.domain.data import DataClass
from diwan.domain.errors import InvalidInput
from diwan.domain.text import Localized
from diwan.procedures.findings import Findings, Path
from diwan.procedures.guards import matches, usable_name
from diwan.procedures.parts import FieldType, FormField, Ground, ValueType
from diwan.procedures.periods import known_country
from diwan.procedures.schema import MISSING_PIECES, Procedure
from diwan.procedures.values import FIELD_VALUES
from diwan.procedures.ways import check_guard, check_ways, exists


def fact_types(procedure: Procedure) -> dict[str, ValueType]:
    """What rules and outcomes may speak of."""
    return {name: fact.type for name, fact in procedure.facts.items()}


def crosscheck(procedure: Procedure, found: Findings) -> None:
    """Add an error to `found` for everything that does not fit together."""
    _form(procedure, found)
    _facts(procedure, found)
    _rules(procedure, found)
    _calendar(procedure, found)
    _models(procedure, found)
    _retention(procedure, found)
    check_ways(procedure, found)


def _models(procedure: Procedure, found: Findings) -> None:
    marked = any(part.personal for part in (*procedure.form.values(), *procedure.facts.values()))
    if marked and procedure.models.data_class is DataClass.PUBLIC:
        found.error(
            "models.data_class",
            ("models", "data_class"),
            "Its data are called public, but a field or fact is marked personal.",
            "Call them personal or sensitive.",
        )


def _retention(procedure: Procedure, found: Findings) -> None:
    if (procedure.retention is None) == (procedure.retention_years is None):
        found.error(
            "retention.one",
            ("retention",),
            "A file says once for how long data are kept.",
            "Write `retention`; `retention_years` is its short form.",
        )


def _form(procedure: Procedure, found: Findings) -> None:
    for name, field in procedure.form.items():
        path: Path = ("form", name)
        if (field.type is FieldType.CHOICE) != bool(field.choices):
            found.error("field.choices", path, "`choices` belong to type choice, and only there.")
        if field.type is not FieldType.TEXT and field.pattern:
            found.error("field.pattern", (*path, "pattern"), "Only a text has a pattern.")
        if field.type is not FieldType.INTEGER and (field.minimum is not None or field.maximum is not None):
            found.error("field.bounds", path, "`minimum` and `maximum` belong to type integer.")
        if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
            found.error("field.bounds", path, "`minimum` is above `maximum`.")
        _pattern(field, (*path, "pattern"), found)


def _pattern(field: FormField, path: Path, found: Findings) -> None:
    if field.pattern is not None:
        try:
            matches(field.pattern, "")
        except InvalidInput as error:
            found.error("field.pattern", path, error.message, error.remedy)


def _facts(procedure: Procedure, found: Findings) -> None:
    for name, fact in procedure.facts.items():
        path: Path = ("facts", name)
        source = fact.source
        if not usable_name(name):
            found.error("fact.name", path, "CEL keeps this word for itself.", "Choose another name.")
        if source.form is None and not source.provable:
            found.error("fact.source", path, "This fact comes from nowhere.", "Name a form field, piece or registry.")
        for piece in source.pieces:
            exists(piece, procedure.pieces, "pieces", (*path, "source", "pieces"), found)
        if source.form is not None and exists(
            source.form, procedure.form, "form fields", (*path, "source", "form"), found
        ):
            given = FIELD_VALUES[procedure.form[source.form].type]
            if given is not fact.type:
                found.error(
                    "fact.type", (*path, "type"), f"The form gives {given.value} here, the fact is {fact.type.value}."
                )
        if fact.must_agree and (source.form is None or not source.provable):
            found.error(
                "fact.must_agree",
                (*path, "must_agree"),
                "Only what is both declared and shown otherwise can agree.",
                "Name a form field and a piece or registry.",
            )


def _rules(procedure: Procedure, found: Findings) -> None:
    types = {name: type_ for name, type_ in fact_types(procedure).items() if usable_name(name)}
    for name, rule in procedure.rules.items():
        check_guard(rule.when, types, ("rules", name, "when"), found)
    names = list(procedure.outcomes)
    for name, outcome in procedure.outcomes.items():
        path: Path = ("outcomes", name)
        last = name == names[-1]
        if outcome.when is None and not last:
            found.error("outcome.order", path, "What follows an outcome without `when` is never reached.")
        if outcome.when is not None and last:
            found.error("outcome.last", path, "The last outcome must have no `when`.", "It is what holds otherwise.")
        if outcome.when is not None:
            check_guard(outcome.when, types, (*path, "when"), found)
        if name in procedure.rules or name == MISSING_PIECES:
            found.error("outcome.name", path, "A rule has this name already; grounds are told apart by it.")
    if MISSING_PIECES in procedure.rules:
        found.error("rule.name", ("rules", MISSING_PIECES), "This name is kept for the ground of missing pieces.")
    for path, ground in grounds(procedure):
        for fact in placeholders(ground.ground, path, found):
            exists(fact, procedure.facts, "facts", (*path, "ground"), found)


def grounds(procedure: Procedure) -> Iterator[tuple[Path, Ground]]:
    """Every ground with its path."""
    for name, rule in procedure.rules.items():
        yield ("rules", name), rule
    for name, outcome in procedure.outcomes.items():
        yield ("outcomes", name), outcome
    yield ("still_missing",), procedure.still_missing


def placeholders(text: Localized, path: Path, found: Findings) -> set[str]:
    """Names in braces; an error where the languages differ in them or a brace stands alone."""
    sets: list[set[str]] = []
    for each in (text.ar, text.fr, text.en):
        try:
            names = {field for _, field, _, _ in string.Formatter().parse(each) if field is not None}
        except ValueError:
            found.error("ground.braces", (*path, "ground"), "A brace stands alone.", "Write {fact}, or {{ for a brace.")
            return set()
        sets.append(names)
    if any(names != sets[0] for names in sets):
        found.error("ground.placeholders", (*path, "ground"), "The three languages do not name the same facts.")
    return set[str]().union(*sets)


def _calendar(procedure: Procedure, found: Findings) -> None:
    calendar = procedure.calendar
    if not known_country(calendar.country):
        found.error("calendar.country", ("calendar", "country"), "The public holidays of this country are not known.")
    try:
        ZoneInfo(calendar.time_zone)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        found.error("calendar.time_zone", ("calendar", "time_zone"), "No such time zone.", "E.g. Africa/Casablanca.")
