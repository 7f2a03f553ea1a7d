"""Which models may serve a procedure: the first, and others only by the golden set that the procedure names."""

from __future__ import annotations

import pytest

from diwan.domain.data import DataClass
from diwan.domain.text import Language
from diwan.pool.choice import may_serve
from diwan.pool.registry import Ability, GoldenSet, Model, Registry
from diwan.procedures.schema import Procedure
from tests.pool.test_registry import model
from tests.procedures.support import NAME, sample

SET, OTHER = "a" * 64, "b" * 64
READING = "dossier-reading"


def procedure(models: str = "") -> Procedure:
    return sample(("retention:", f"models: {{{models}}}\nretention:"))


def named(name: str, **registered: object) -> Model:
    return model(name).model_copy(update=registered)


def passed(name: str, *sets: tuple[str, str], **registered: object) -> Model:
    golden = frozenset(GoldenSet(procedure=procedure, digest=digest) for procedure, digest in sets)
    return named(name, passed=golden, **registered)


def chosen(of: Procedure, *models: Model, language: Language | None = None) -> list[str]:
    registry = Registry(models=models, capabilities={READING: tuple(each.name for each in models)})
    return [each.name for each in may_serve(registry, of, READING, language=language)]


def test_the_first_serves_whatever_it_passed_and_no_other_without_leave() -> None:
    assert chosen(sample(), named("first"), passed("second", (NAME, SET))) == ["first"]


def test_others_serve_in_their_order_where_the_procedure_names_what_they_passed() -> None:
    models = (named("a"), passed("b", (NAME, OTHER), (NAME, SET)), passed("c", (NAME, OTHER)), passed("d", (NAME, SET)))
    assert chosen(procedure(f"golden_set: {SET}"), *models) == ["a", "b", "d"]


def test_a_set_of_another_procedure_does_not_count() -> None:
    assert chosen(procedure(f"golden_set: {SET}"), named("a"), passed("b", ("parking-permit", SET))) == ["a"]


@pytest.mark.parametrize(
    "registered",
    [
        {"abilities": frozenset({Ability.TOOLS})},
        {"abilities": frozenset({Ability.JSON_SCHEMA, Ability.VISION})},
        {"data_classes": frozenset({DataClass.PUBLIC})},
        {"languages": frozenset({Language.EN})},
    ],
)
def test_who_cannot_or_may_not_is_passed_over_and_the_next_is_still_not_the_first(
    registered: dict[str, object],
) -> None:
    first = named("first", **registered)
    of = procedure(f"golden_set: {SET}")
    assert chosen(of, first, named("second"), passed("third", (NAME, SET)), language=Language.AR) == ["third"]


def test_sensitive_data_go_to_those_only_that_may_see_them() -> None:
    of = procedure("data_class: sensitive")
    assert chosen(of, named("usual")) == []
    assert chosen(of, named("trusted", data_classes=frozenset(DataClass))) == ["trusted"]


def test_nobody_has_a_capability_that_is_not_registered() -> None:
    assert may_serve(Registry(models=(), capabilities={}), sample(), READING) == ()
