"""Sampling: sent as registered, the same bytes for the same values, and on record as it was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from agents.examiner import EXAMINER, brief
from agents.messages import build_request
from agents.sampling import GREEDY, Sampling
from diwan.domain.text import Language
from diwan.ledger.entry import EntryModel
from tests.agents.support import housing

WARM = Sampling(temperature=0.7, top_p=1.0, top_k=20, seed=7, reasoning_effort="low", template={"thinking": False})


def test_greedy_is_what_was_always_sent() -> None:
    assert json.dumps(GREEDY.request()) == '{"temperature": 0, "seed": 1}'
    assert GREEDY.recorded() == {"temperature": 0}


def test_what_is_registered_is_sent_and_nothing_that_is_not() -> None:
    assert WARM.request() == {
        "temperature": 0.7,
        "seed": 7,
        "top_p": 1,
        "top_k": 20,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"thinking": False},
    }


def test_it_stands_in_the_request() -> None:
    briefing = brief(housing(), Language.FR, [], identity_number="")
    made = build_request(EXAMINER, briefing, [], final=False, model="m", sampling=WARM)
    assert {name: made[name] for name in WARM.request()} == WARM.request()


def test_an_entry_takes_it_with_fractions_as_text() -> None:
    entry = EntryModel(name="m", sampling=WARM.recorded(), seed=WARM.seed)
    assert entry.sampling == {
        "temperature": "0.7", "top_p": 1, "top_k": 20, "reasoning_effort": "low", "template.thinking": False,
    }  # fmt: skip


def test_two_ways_to_write_a_number_give_the_same_bytes() -> None:
    one, other = (Sampling.model_validate_json(f'{{"temperature": {text}}}') for text in ("1", "1.0"))
    assert json.dumps(one.request()) == json.dumps(other.request())
    assert one.recorded() == other.recorded()


@pytest.mark.parametrize(
    "values",
    [{"temperature": -1}, {"top_p": 0}, {"seed": -1}, {"best_of": 4}, {"template": {"a": 0.5}}, {"template": {"A": 1}}],
)
def test_what_no_request_or_entry_could_hold_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sampling.model_validate(values)
