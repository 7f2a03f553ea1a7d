"""A case on paper takes the way that a case takes."""

from __future__ import annotations

import pytest

from diwan.domain.case import CaseStatus, Result
from diwan.domain.errors import InvalidInput
from diwan.domain.facts import Fact
from diwan.domain.text import Language
from diwan.procedures.flow import open_case
from diwan.procedures.receipt import receipt_facts
from diwan.procedures.show import outline
from diwan.procedures.simulate import SimulatedStep, simulate
from tests.procedures.support import DAY, NOW, PIECES, granted_facts, office, sample


def play(
    facts: list[Fact], pieces: dict[str, str], outcomes: dict[str, list[str]] | None = None
) -> list[SimulatedStep]:
    return simulate(sample(), facts, pieces, outcomes or {}, now=NOW, calendar=office())


def names(story: list[SimulatedStep]) -> list[str]:
    return [step.step for step in story]


def test_the_usual_story() -> None:
    story = play(granted_facts(), dict(PIECES))
    assert names(story) == ["receipt", "examine", "review", "sign", "decide", "closed"]
    assert story[-1].result is Result.GRANTED
    assert story[0].on == DAY


def test_pieces_asked_for_and_sent() -> None:
    story = play(granted_facts(), {"identity_card": "d1"})
    assert names(story)[2:6] == ["request_review", "request_letter", "await_pieces", "examine"]
    assert story[4].status is CaseStatus.SUSPENDED
    assert story[-1].result is Result.GRANTED


def test_pieces_asked_for_in_vain() -> None:
    story = play(granted_facts(), {"identity_card": "d1"}, {"await_pieces": ["expired"]})
    assert story[-1].result is Result.INADMISSIBLE
    assert (story[5].on - story[4].on).days >= 30
    assert story[5].due["decision"] > story[3].due["decision"]


def test_turns_are_taken_visit_by_visit() -> None:
    story = play(granted_facts(), dict(PIECES), {"review": ["returned", "approved"], "sign": ["rejected"]})
    assert names(story) == [
        "receipt", "examine", "review", "examine", "review", "sign", "review", "sign", "decide", "closed",
    ]  # fmt: skip


def test_a_withdrawal_breaks_in() -> None:
    story = play(granted_facts(), dict(PIECES), {"review": ["diwan.application.withdrawn"]})
    assert names(story)[-2:] == ["withdrawal", "closed"]
    assert story[-1].result is Result.WITHDRAWN


def test_silence() -> None:
    story = play(granted_facts(), dict(PIECES), {"review": ["expired", "expired"]})
    assert story[-1].result is Result.IMPLIED_REFUSAL
    assert story[-1].on > story[2].due["decision"]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ({"review": ["signed"]}, "simulation.outcome"),
        ({"review": ["returned"] * 200}, "simulation.endless"),
        ({"await_pieces": ["approved"]}, "simulation.outcome"),
    ],
)
def test_what_cannot_be_is_refused(outcomes: dict[str, list[str]], code: str) -> None:
    pieces = {} if "await_pieces" in outcomes else dict(PIECES)
    with pytest.raises(InvalidInput) as error:
        play(granted_facts(), pieces, outcomes)
    assert error.value.code == code


def test_what_is_open_cannot_be_approved() -> None:
    with pytest.raises(InvalidInput) as error:
        play([each for each in granted_facts() if each.name != "national"], dict(PIECES))
    assert error.value.code == "simulation.undetermined"
    assert "national" in error.value.remedy


# --- receipt and outline -------------------------------------------------------------------------------------------


def test_a_receipt_says_what_is_missing_until_when_and_what_then() -> None:
    state = open_case(sample(), NOW, office()).state
    said = receipt_facts(sample(), state, ["identity_card", "sale_promise", "nonsense"], NOW)
    assert [piece.name for piece in said.missing] == ["habitation_permit", "non_ownership_certificate"]
    assert said.received_on == DAY
    assert said.decision_due_on == state.periods["decision"].due_on
    assert said.silence is not None
    assert "رفضا ضمنيا" in said.silence.ar
    assert said.appeal.court.days == 60
    assert "fictive" in said.office.fr


def test_an_outline_names_everything_in_every_language() -> None:
    procedure = sample()
    parts = [procedure.form, procedure.pieces, procedure.facts, procedure.rules, procedure.outcomes, procedure.steps]
    for language in Language:
        lines = outline(procedure, language)
        assert all(line.text for line in lines)
        shown = {line.name for line in lines}
        assert all(name in shown for part in parts for name in part)
