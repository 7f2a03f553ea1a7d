"""Guards: short conditions in CEL (https://cel.dev), type-checked before they are ever used.

The only module that knows cel-expr-python: a young library is kept behind one door. CEL stops `&&` and `||` at what
decides them, so a value that is not known leaves the answer unknown only where it matters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache

from cel_expr_python import cel

from diwan.domain.errors import InvalidInput
from diwan.domain.facts import FactValue
from diwan.procedures.parts import ValueType

_TYPES = {
    ValueType.TEXT: cel.Type.STRING,
    ValueType.INTEGER: cel.Type.INT,
    ValueType.BOOLEAN: cel.Type.BOOL,
    ValueType.DATE: cel.Type.TIMESTAMP,
}
_STRING = re.compile(r"'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_IDENTIFIER = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?!\w)(?!\s*\()")
_DATE_CALL = re.compile(r"(?<![\w.])date\s*\(\s*([^)]*?)\s*\)")
_DATE_LITERAL = re.compile(r"(['\"])(\d{4}-\d{2}-\d{2})\1")
_PLACE = re.compile(r"<input>:(\d+):(\d+): (.*)")
_OWN_FUNCTION = "date"
_NOT_NAMES = {_OWN_FUNCTION, "true", "false", "null"}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _date(text: str) -> datetime:
    return _midnight(date.fromisoformat(text))


@lru_cache(maxsize=64)
def _environment(variables: tuple[tuple[str, ValueType], ...]) -> cel.Env:
    overload = cel.Overload("date_of_string", cel.Type.TIMESTAMP, [cel.Type.STRING], False, _date)
    return cel.NewEnv(
        variables={name: _TYPES[type_] for name, type_ in variables},
        functions=[cel.FunctionDecl(_OWN_FUNCTION, [overload])],
    )


@lru_cache(maxsize=256)
def _environment_accepts(name: str) -> bool:
    try:
        cel.NewEnv(variables={name: cel.Type.BOOL}).compile(name)
    except RuntimeError:
        return False
    return name not in _NOT_NAMES


def usable_name(name: str) -> bool:
    """Whether a guard can speak of `name`: CEL keeps some words for itself (`in`, `type`, `package`, …)."""
    return _environment_accepts(name)


@dataclass(frozen=True)
class CompiledGuard:
    """`uses` names the declared variables that stand in the text."""

    text: str
    uses: frozenset[str]
    _expression: cel.Expression

    def holds(self, values: Mapping[str, FactValue]) -> bool | None:
        """True, False, or None where values that decide are absent, or where the evaluation itself fails."""
        data = {
            name: _midnight(value) if isinstance(value, date) else value
            for name, value in values.items()
            if name in self.uses
        }
        answer = self._expression.eval(data=data)
        return bool(answer.value()) if answer.type() == cel.Type.BOOL else None


def compile_guard(text: str, variables: Mapping[str, ValueType]) -> CompiledGuard:
    """Type-check `text` against `variables`; it must come out as true or false.

    Raises `InvalidInput` (`procedure.guard`) with line and column within the text.
    """
    return _compile(text, tuple(sorted(variables.items())))


@lru_cache(maxsize=4096)
def _compile(text: str, variables: tuple[tuple[str, ValueType], ...]) -> CompiledGuard:
    _check_dates(text)
    try:
        expression = _environment(variables).compile(text)
    except RuntimeError as error:
        raise InvalidInput(
            "procedure.guard", f"The condition is not valid: {_reason(error)}.", _known(variables)
        ) from None
    if expression.return_type() != cel.Type.BOOL:
        raise InvalidInput(
            "procedure.guard",
            f"The condition gives {expression.return_type().name()}, not true or false.",
            "Compare it with something, e.g. `price <= 300000`.",
        )
    names = {name for name, _ in variables}
    uses = frozenset(names.intersection(_IDENTIFIER.findall(_STRING.sub("''", text))))
    return CompiledGuard(text=text, uses=uses, _expression=expression)


def _check_dates(text: str) -> None:
    """`date(…)` takes a literal that is a day: a slip is found now, not in the middle of a case."""
    for argument in _DATE_CALL.findall(text):
        literal = _DATE_LITERAL.fullmatch(argument)
        try:
            valid = literal is not None and bool(date.fromisoformat(literal[2]))
        except ValueError:
            valid = False
        if not valid:
            raise InvalidInput("procedure.guard", "date() needs a day.", "Write it as date('2023-01-31').")


def _reason(error: RuntimeError) -> str:
    place = _PLACE.search(str(error))
    if place:
        return f"at {place[1]}:{place[2]}, {place[3].removesuffix('[INVALID_ARGUMENT]').strip().rstrip('.')}"
    return str(error).splitlines()[0].split(" [")[0].rstrip(".")


def _known(variables: tuple[tuple[str, ValueType], ...]) -> str:
    return "It may speak of: " + ", ".join(f"{name} ({type_.value})" for name, type_ in variables) + "."


@lru_cache(maxsize=1)
def _matcher() -> cel.Expression:
    return cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING}).compile("text.matches(pattern)")


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` (RE2: linear time, whatever is typed into a form) is found in `text`.

    Raises `InvalidInput` where it is no such pattern.
    """
    answer = _matcher().eval(data={"text": text, "pattern": pattern})
    if answer.type() != cel.Type.BOOL:
        raise InvalidInput(
            "procedure.pattern", "The pattern is not a valid RE2 expression.", "See github.com/google/re2."
        )
    return bool(answer.value())
