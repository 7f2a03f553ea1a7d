"""`diwan case rerun`, against a fake service: the calls of a case, a rerun that is waited for, what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Diwan
from tests.cli.fake_service import Answer, FakeService, problem

SIDE: dict[str, Any] = {
    "model": "mistral",
    "weights_digest": "a" * 64,
    "tokenizer_digest": "",
    "engine_version": "0.32.0",
    "fingerprint": "vllm-0.32.0-1f",
    "batch_invariant": "unknown",
    "host": "gpu-1",
    "cached_tokens": 96,
}
CALL: dict[str, Any] = {
    **{"number": 1, "at": "2026-11-23T09:30:12.123456Z", "run": "c1/examine/1", "step": "examine", "visit": 1},
    **{"call": 1, "attempt": 1, "used": True, "answered_by": SIDE, "temperature": "0", "seed": 1},
    **{"rerunnable": True, "why_not": "", "hosts": ["gpu-1"]},
}
ASKED: dict[str, Any] = {
    **{"id": "r1", "case": "c1", "number": 1, "status": "asked", "reason": "", "meaning": "asked", "words": "asked"},
    **{"asked_by": "auditor-1", "asked_at": "2026-11-26T10:00:00Z", "ended_at": None, "temperature": "0", "seed": 1},
    **{"then": SIDE, "now": None, "same": {}, "tokens": None, "first": None, "said": None},
}
SAME = {"weights": "yes", "tokenizer": "unknown", "engine_version": "yes", "engine_configuration": "yes"}
ENDED = {**ASKED, "ended_at": "2026-11-26T10:00:09Z", "now": {**SIDE, "host": "gpu-2"}, "same": SAME, "tokens": True}
IDENTICAL = {**ENDED, "status": "identical", "meaning": "identical", "words": "identical: again"}
DIFFERS = {
    **ENDED,
    **{"status": "differs", "meaning": "differs_proves_nothing", "words": "differs and proves nothing"},
    "first": {"part": "token_ids", "position": 7, "before": "4 5", "then": "6 7", "now": "8"},
    "said": {"part": "message.content", "position": 12, "before": "the price ", "then": "is", "now": "was"},
}
NOT_RUN = {**ASKED, "status": "not_run", "reason": "rerun.no_room", "words": "not run", "ended_at": "2026-11-26T10:10Z"}
POST, GET = "POST /v1/cases/DW-1/calls/1/reruns", "GET /v1/cases/DW-1/reruns/r1"


def test_without_a_call_it_lists_them_with_why_one_cannot_be_run(diwan: Diwan, fake: FakeService) -> None:
    other = {**CALL, "number": 2, "rerunnable": False, "why_not": "no_such_host", "hosts": []}
    fake.answers["GET /v1/cases/DW-1/calls"] = Answer(200, {"items": [CALL, other], "next": None})
    done = diwan("case", "rerun", "DW-1")
    assert done.exit_code == 0
    for said in ("examine/1 call 1", "a" * 12, "0.32.0", "yes: gpu-1", "no: no host with the same digests"):
        assert said in done.stdout
    assert json.loads(diwan("case", "rerun", "DW-1", "--output", "json").stdout) == [CALL, other]


def test_it_waits_until_the_rerun_has_ended(diwan: Diwan, fake: FakeService) -> None:
    fake.answers[POST] = Answer(202, ASKED)
    fake.answers[GET] = [Answer(200, ASKED), Answer(200, IDENTICAL)]
    done = diwan("case", "rerun", "DW-1", "--call", "1", "--key", "k")
    assert done.exit_code == 0
    assert "identical: again" in done.stdout
    assert [asked.headers["idempotency-key"] for asked in fake.asked if asked.method == "POST"] == ["k"]
    assert json.loads(diwan("case", "rerun", "DW-1", "--call", "1", "--output", "json").stdout) == IDENTICAL


def test_a_difference_is_shown_with_its_conditions_and_is_exit_code_1(diwan: Diwan, fake: FakeService) -> None:
    fake.answers[POST] = Answer(202, DIFFERS)
    done = diwan("case", "rerun", "DW-1", "--call", "1")
    assert done.exit_code == 1
    words = done.stdout
    for said in ("differs and proves nothing", "token_ids, at 7", "message.content, at 12", "was", "not recorded"):
        assert said in words
    (tokenizer,) = [line for line in words.splitlines() if line.startswith("Tokenizer")]
    assert tokenizer.split() == ["Tokenizer", "not", "recorded", "not", "recorded", "unknown"]


def test_one_that_was_not_run_says_why_and_what_to_do(diwan: Diwan, fake: FakeService) -> None:
    fake.answers[POST] = Answer(202, NOT_RUN)
    done = diwan("case", "rerun", "DW-1", "--call", "1")
    assert done.exit_code == 1
    assert "rerun.no_room" in done.stderr
    assert "ask again when they are less so" in done.stderr


def test_whoever_does_not_wait_can_look_again_with_the_same_key(diwan: Diwan, fake: FakeService) -> None:
    fake.answers[POST] = Answer(202, ASKED)
    done = diwan("case", "rerun", "DW-1", "--call", "1", "--key", "k", "--wait", "0")
    assert done.exit_code == 75
    assert "diwan case rerun DW-1 --call 1 --key k" in done.stderr


@pytest.mark.parametrize(("code", "status", "exit_code"), [("rerun.no_host", 409, 5), ("rerun.no_such_call", 404, 3)])
def test_what_is_refused_is_said(diwan: Diwan, fake: FakeService, code: str, status: int, exit_code: int) -> None:
    fake.answers[POST] = problem(status, code, "No host is what answered then. Wanted: weights aa.", "Start one.")
    done = diwan("case", "rerun", "DW-1", "--call", "1")
    assert done.exit_code == exit_code
    assert "Wanted: weights aa." in done.stderr
