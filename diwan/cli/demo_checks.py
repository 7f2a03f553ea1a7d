"""Owns what a played dossier is held against: everything its expected.json says, and that its letters can be read."""

from __future__ import annotations

from typing import Any, cast

from diwan.cli.demo_play import Letter, Played
from diwan.documents.content import letter_content
from diwan.documents.readback import missing_from

Json = dict[str, Any]

_PEOPLES_ACTS = frozenset({"approve", "edit", "reject", "return"})


def differences(played: Played) -> list[str]:
    """What did not come out as it should, in words; empty where all of it did."""
    case, expected = played.case, played.sample.expected
    found = list(played.surprises)
    for what, wanted, got in (
        ("result", expected["result"], case["result"]),
        ("amount", expected["amount"], amount_of(case)),
        ("grounds", expected["grounds"], _decided(case).get("grounds", [])),
        ("letters", expected["letters"], [letter.kind for letter in played.letters]),
        ("warnings", sorted(expected["warnings"]), sorted(warnings_of(case))),
        ("documents", expected["documents"], {each["name"]: each["piece"] for each in case["documents"]}),
        *_facts(expected, case),
    ):
        if wanted != got:
            found.append(f"{what}: expected {wanted}, got {got}")
    return found + [text for letter in played.letters for text in _unreadable(letter)]


def _facts(expected: Json, case: Json) -> list[tuple[str, object, object]]:
    """The facts that were to be established, each against what the case holds of that provenance."""
    held = {(fact["provenance"], fact["name"]): fact["value"] for fact in case["facts"]}
    wanted = cast("dict[str, Json]", expected["facts"])
    return [
        (f"fact {name} ({provenance})", value, held.get((provenance, name)))
        for provenance, facts in wanted.items()
        for name, value in facts.items()
    ]


def _unreadable(letter: Letter) -> list[str]:
    """What was written and does not read back from the PDF; only counted, since letters are personal."""
    missing = missing_from(letter.pdf, letter_content.validate_python(letter.content))
    return [f"letter {letter.kind}: {len(missing)} of its texts do not read back from the PDF"] if missing else []


def amount_of(case: Json) -> int | None:
    return cast("int | None", _decided(case).get("amount"))


def warnings_of(case: Json) -> list[str]:
    return list(cast("Json", case.get("proposal") or {}).get("warnings", []))


def _decided(case: Json) -> Json:
    """The assessment that the decision rests on; empty where there is no decision."""
    decision = cast("Json", case.get("decision") or {})
    return cast("Json", cast("Json", decision.get("proposal") or {}).get("assessment") or {})


def steps_by(played: Played, kind: str) -> int:
    """Working steps: visits of a step in which an agent, or a person, did the work."""
    lines = [line for line in played.story if line["actor_kind"] == kind]
    if kind == "person":
        return sum(line["detail"].get("act") in _PEOPLES_ACTS for line in lines)
    return len({(line["step"], line["visit"]) for line in lines})
