"""The shipped procedure, and small changes to it."""

from __future__ import annotations

from datetime import UTC, date, datetime

from diwan.domain.facts import Fact, FactValue, Provenance
from diwan.procedures.examples import example_text
from diwan.procedures.load import load_procedure
from diwan.procedures.periods import Calendar, calendar_of
from diwan.procedures.schema import Procedure

NAME = "direct-housing-aid"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
DAY = date(2026, 11, 23)
PIECES = {
    "identity_card": "d1",
    "sale_promise": "d2",
    "habitation_permit": "d3",
    "non_ownership_certificate": "d4",
}


def text(*changes: tuple[str, str]) -> str:
    """The sample's YAML with `changes` made; each must occur."""
    yaml = example_text(NAME)
    for old, new in changes:
        assert old in yaml, old
        yaml = yaml.replace(old, new, 1)
    return yaml


def sample(*changes: tuple[str, str]) -> Procedure:
    return load_procedure(text(*changes))


def office() -> Calendar:
    return calendar_of(sample())


def fact(
    name: str,
    value: FactValue,
    provenance: Provenance = Provenance.DOCUMENT,
    *,
    by_person: bool = False,
) -> Fact:
    who = "demo-clerk" if by_person else "dossier-examiner"
    return Fact(name=name, value=value, provenance=provenance, as_of=DAY, established_by=who, by_person=by_person)


def granted_facts(**others: FactValue) -> list[Fact]:
    """Facts of an application that meets every condition, as documents and the register show them."""
    values: dict[str, FactValue] = {
        "identity_number": "ZZ100001",
        "national": True,
        "owns_dwelling": False,
        "first_sale": True,
        "rooms": 3,
        "permit_date": date(2024, 5, 2),
        "price": 280_000,
        **others,
    }
    facts = [fact(name, value) for name, value in values.items() if name != "earlier_aid"]
    return [*facts, fact("earlier_aid", values.get("earlier_aid", False), Provenance.REGISTRY)]
