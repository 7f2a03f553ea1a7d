"""The demo's judgement: it must find every kind of difference, and act only as the sample says."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from diwan.cli.credentials import AsRole
from diwan.cli.demo_checks import amount_of, differences, steps_by
from diwan.cli.demo_play import Letter, Played, Unexpected
from diwan.cli.demo_samples import Sample, shipped_samples
from diwan.documents.typeset import typeset
from diwan.domain.errors import Retry
from diwan.domain.text import Language
from tests.cli.fake_office import FakeOffice, digest_of_shown
from tests.documents.letters import letter

Json = dict[str, Any]


@cache
def samples() -> dict[str, Sample]:
    return {sample.name[:2]: sample for sample in shipped_samples()}


@cache
def a_letter(kind: str) -> Letter:
    made = letter(kind, Language.AR)
    return Letter(kind, made.model_dump(mode="json"), typeset(made))


def as_expected(sample: Sample) -> Played:
    """The sample as if it had come out exactly as it should."""
    expected = sample.expected
    assessment = {"amount": expected["amount"], "grounds": expected["grounds"]}
    case = {
        "result": expected["result"],
        "decision": {"proposal": {"assessment": assessment}},
        "proposal": {"warnings": list(expected["warnings"])},
        "documents": [{"name": name, "piece": piece} for name, piece in expected["documents"].items()],
        "facts": [
            {"provenance": kind, "name": name, "value": value}
            for kind, facts in expected["facts"].items()
            for name, value in facts.items()
        ],
    }
    return Played(sample, case, [], [a_letter(kind) for kind in expected["letters"]], [])


# --- the samples themselves ------------------------------------------------------------------------------------------


def test_every_shipped_sample_can_be_read_and_names_people_that_there_are() -> None:
    assert len(samples()) >= 7
    assert {sample.language for sample in samples().values()} >= {"ar", "fr"}
    users = {role.value for role in AsRole}
    for sample in samples().values():
        assert {act.by for act in sample.acts} <= users
        assert {act.verb for act in sample.acts} <= {"approve", "edit", "reject", "return"}


@pytest.mark.parametrize("number", sorted(samples()))
def test_a_sample_that_comes_out_as_it_should_has_no_differences(number: str) -> None:
    assert differences(as_expected(samples()[number])) == []


CHANGES: dict[str, Callable[[Json], object]] = {
    "result": lambda case: case.update(result="lapsed"),
    "amount": lambda case: case["decision"]["proposal"]["assessment"].update(amount=1),
    "grounds": lambda case: case["decision"]["proposal"]["assessment"].update(grounds=["other"]),
    "warnings": lambda case: case["proposal"]["warnings"].append("agent_failed.engine_unavailable"),
    "documents": lambda case: case["documents"][0].update(piece="hat"),
    "fact price (document)": lambda case: case.update(facts=[f for f in case["facts"] if f["name"] != "price"]),
    "fact earlier_aid (registry)": lambda case: next(f for f in case["facts"] if f["name"] == "earlier_aid").update(
        value=True
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_difference_is_found_and_named(what: str) -> None:
    played = as_expected(samples()["01"])
    case = copy.deepcopy(played.case)
    CHANGES[what](case)
    found = differences(replace(played, case=case))
    assert [text.partition(":")[0] for text in found] == [what]


def test_a_letter_too_few_is_a_difference() -> None:
    played = as_expected(samples()["01"])
    assert differences(replace(played, letters=played.letters[:1]))[0].startswith("letters: ")


def test_a_letter_whose_pdf_says_something_else_is_a_difference() -> None:
    played = as_expected(samples()["01"])
    other = typeset(letter("receipt", Language.FR))
    letters = [replace(played.letters[0], pdf=other), *played.letters[1:]]
    (found,) = differences(replace(played, letters=letters))
    assert re.fullmatch(r"letter receipt: \d+ of its texts do not read back from the PDF", found)


def test_surprises_count_as_differences() -> None:
    assert differences(replace(as_expected(samples()["01"]), surprises=["a person had to act"])) == [
        "a person had to act"
    ]


def test_steps_are_counted_by_who_did_the_work() -> None:
    story = [
        {"actor_kind": "agent", "step": "examine", "visit": 1, "detail": {}},
        {"actor_kind": "agent", "step": "examine", "visit": 1, "detail": {}},
        {"actor_kind": "agent", "step": "examine", "visit": 2, "detail": {}},
        {"actor_kind": "person", "step": "review", "visit": 1, "detail": {"act": "claim"}},
        {"actor_kind": "person", "step": "review", "visit": 1, "detail": {"act": "approve"}},
        {"actor_kind": "system", "step": "decide", "visit": 1, "detail": {}},
    ]
    played = replace(as_expected(samples()["01"]), story=story)
    assert (steps_by(played, "agent"), steps_by(played, "person")) == (2, 1)


# --- playing ---------------------------------------------------------------------------------------------------------


REVIEW = ("review", "task", ["clerk", "supervisor"], "dossier-examiner")
SIGN = ("sign", "task", ["authority"], "dossier-examiner")


def test_people_act_as_the_sample_says_each_bound_to_what_was_shown() -> None:
    office = FakeOffice(REVIEW, ("review", "task", ["clerk", "supervisor"], "demo-clerk"), SIGN)
    played = office.play(samples()["04"])
    assert office.asked == [
        ("intake", "diwan.application.submitted"),
        *[("clerk", "claim"), ("clerk", "edit")],
        *[("supervisor", "claim"), ("supervisor", "approve")],
        *[("authority", "claim"), ("authority", "approve")],
    ]
    edit = office.bodies[1]
    assert edit["changes"] == {"price": 350000}
    assert edit["reason"]
    assert edit["digest"] == digest_of_shown({"at": 0})
    assert played.surprises == []


def test_the_applicant_sends_what_was_asked_for_when_the_case_waits_for_it() -> None:
    ask = ("request_pieces", "task", ["clerk"], "dossier-examiner")
    office = FakeOffice(ask, ("await_pieces", "wait", [], ""), REVIEW, SIGN)
    assert office.play(samples()["02"]).surprises == []
    assert ("intake", "diwan.pieces.supplied") in office.asked


def test_a_withdrawal_comes_instead_of_the_act() -> None:
    office = FakeOffice(REVIEW)
    assert office.play(samples()["07"]).surprises == []
    assert office.asked[-1] == ("intake", "diwan.application.withdrawn")


def test_an_act_that_nobody_planned_is_done_and_told() -> None:
    extra = ("request_pieces", "task", ["clerk", "supervisor"], "demo-clerk")
    office = FakeOffice(extra, REVIEW, SIGN)
    played = office.play(samples()["01"])
    assert ("supervisor", "approve") in office.asked
    assert played.surprises == ["a person had to act on a task request_pieces"]


def test_an_act_that_was_planned_and_not_needed_is_told() -> None:
    played = FakeOffice(REVIEW).play(samples()["01"])
    assert played.surprises == ["nobody was asked to approve a task sign"]


def test_a_blocked_case_and_one_that_waits_for_nobody_end_the_play() -> None:
    office = FakeOffice(REVIEW)
    office.blocked = "letter.unreadable"
    with pytest.raises(Unexpected, match=r"blocked at review: letter\.unreadable"):
        office.play(samples()["01"])
    with pytest.raises(Unexpected, match="waits at await_pieces"):
        FakeOffice(("await_pieces", "wait", [], "")).play(samples()["01"])


def test_a_case_that_never_moves_ends_with_try_again_when_time_is_over() -> None:
    with pytest.raises(Retry, match="still at step examine"):
        FakeOffice(("examine", "agent", [], "")).play(samples()["01"], seconds=0.1)


def test_there_is_no_amount_without_a_decision() -> None:
    assert amount_of({"decision": None}) is None
