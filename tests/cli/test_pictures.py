"""What a person is shown: all of what an act is bound to, whatever its shape."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from diwan.cli import pictures
from diwan.cli.output import cell
from diwan.domain.decision import Assessment, Conflict, Proposal, RuleOutcome
from diwan.domain.facts import Evidence, Fact, Provenance

_texts = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
_values = st.one_of(_texts, st.integers(-(10**6), 10**6), st.booleans(), st.none())
_json = st.recursive(
    _values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4), max_leaves=12
)


def rendered(picture: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=2000, highlight=False, markup=False).print(picture)
    return stream.getvalue()


def bare(text: str) -> str:
    return text.replace("_", " ").replace("\u2068", "").replace("\u2069", "")


def leaves(value: Any) -> Iterator[object]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key.replace("_", " ")
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def assert_all_shown(shown: dict[str, Any], *, but: tuple[str, ...] = ()) -> None:
    text = bare(rendered(pictures.task({"id": "t1", "shown": shown}, 2000)))
    missing = [value for value in leaves(shown) if value not in but and bare(cell(value).plain) not in text]
    assert missing == []


@settings(max_examples=40)
@given(st.dictionaries(_texts, _json, max_size=5))
def test_whatever_a_task_shows_is_on_the_screen(shown: dict[str, Any]) -> None:
    assert_all_shown(shown)


@settings(max_examples=40)
@given(st.dictionaries(_texts, _json, max_size=5), st.dictionaries(_texts, _json, max_size=3))
def test_whatever_stands_in_a_proposal_is_on_the_screen(more: dict[str, Any], said: dict[str, Any]) -> None:
    proposal = {"proposer": "rules", "warnings": ["agent failed"], **more, "assessment": {"result": "granted", **said}}
    assert_all_shown({"proposal": proposal}, but=("assessment", "proposal"))


@settings(max_examples=40)
@given(_json, _json)
def test_facts_and_rules_of_a_shape_that_is_not_known_are_on_the_screen(facts: Any, rules: Any) -> None:
    shown = {"proposal": {"proposer": "rules", "facts": facts, "assessment": {"result": "granted", "rules": rules}}}
    assert_all_shown(shown, but=("assessment", "proposal"))


def test_a_real_proposal_is_shown_whole() -> None:
    evidence = Evidence(document="d" * 8, page=2, quote="ثمن البيع 280.000 درهم")
    fact = Fact(
        name="price",
        value=280000,
        provenance=Provenance.DOCUMENT,
        as_of="2026-11-23",  # pyright: ignore[reportArgumentType]
        established_by="dossier-examiner",
        evidence=evidence,
    )
    assessment = Assessment(
        result=None,
        rules=[RuleOutcome(rule="national", holds=None), RuleOutcome(rule="enough_rooms", holds=False)],
        unknown=["national"],
        conflicts=[Conflict(fact="price", values={Provenance.DECLARED: 290000, Provenance.DOCUMENT: 350000})],
        missing_pieces=["sale_promise"],
    )
    made = Proposal(
        proposer="dossier-examiner",
        assessment=assessment,
        facts=[fact],
        pieces={"identity_card": "d1"},
        summary="A dossier.",
        warnings=["instruction_suspected"],
        rejected_claims=["rooms"],
    )
    text = rendered(pictures.proposal(made.model_dump(mode="json"), 2000))
    for said in ("280.000 درهم", "p. 2", "290\u202f000", "350\u202f000", "sale_promise", "instruction_suspected", "d1"):
        assert said in text
    assert "unknown" in text
