"""`diwan case` and `diwan task`, against a fake service."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import rfc8785

from diwan.cli.task import changes_of
from diwan.domain.errors import InvalidInput
from tests.cli.conftest import Diwan
from tests.cli.fake_service import Answer, Asked, FakeService, problem

NAME = "أمينة المثال"
CASE: dict[str, Any] = {
    "id": "c1",
    "number": "DW-2026-000001",
    "procedure": "direct-housing-aid",
    "status": "closed",
    "step": "closed",
    "kind": "end",
    "result": "granted",
    "language": "ar",
    "source": "urn:diwan:counter",
    "reference": "P-7",
    "flags": ["instruction_suspected"],
    "blocked": "",
    "version": 12,
    "opened_at": "2026-11-23T09:30:12.123456Z",
    "closed_at": None,
    "parties": [{"role": "applicant", "name": NAME}],
    "documents": [
        {"id": "d1", "name": "card.pdf", "piece": "identity_card", "pages": 1, "status": "accepted", "flags": []},
    ],
    "facts": [
        {
            "name": "price",
            "value": 280000,
            "provenance": "document",
            "established_by": "dossier-examiner",
            "evidence": {"document": "d2", "page": 2, "quote": "280 000 DH"},
        }
    ],
    "proposal": None,
    "decision": None,
    "letters": [{"id": "l1", "kind": "receipt", "number": "R-1", "language": "ar", "address": "/v1/letters/l1"}],
    "tasks": [],
}
SHOWN = {"proposal": {"amount": 100000, "facts": [{"name": "price", "value": 280000}], "summary": NAME}, "salt": "00"}
DIGEST = hashlib.sha256(rfc8785.dumps(SHOWN)).hexdigest()
TASK: dict[str, Any] = {
    "id": "t1",
    "number": "DW-2026-000001",
    "kind": "review",
    "status": "claimed",
    "assignee": "demo-clerk",
    "proposer": "dossier-examiner",
    "roles": ["clerk"],
    "digest": DIGEST,
    "shown": SHOWN,
}


def test_case_list_reads_page_after_page_up_to_the_limit(diwan: Diwan, fake: FakeService) -> None:
    def page(asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        assert query["status"] == ["open"]
        assert "procedure" not in query
        start = int(query.get("cursor", ["0"])[0])
        return Answer(200, {"items": [CASE | {"id": str(start + n)} for n in range(3)], "next": str(start + 3)})

    fake.answers["GET /v1/cases"] = page
    done = diwan("case", "list", "--status", "open", "--limit", "7", "--output", "json")
    assert done.exit_code == 0, done.stderr
    assert [item["id"] for item in json.loads(done.stdout)] == [str(n) for n in range(7)]
    assert len(fake.asked) == 3


def test_erasure_list_of_what_belongs_to_no_case(diwan: Diwan, fake: FakeService) -> None:
    upload = {"scope": "staged/9f", "rule": "upload", "kept_from": "2026-11-01", "kept_until": None}
    upload |= {"started_at": None, "done_at": None}
    month = {"scope": "searches/2020-01", "rule": "searches", "kept_from": "2020-01-31", "kept_until": "2023-01-31"}
    month |= {"started_at": "2026-11-27T09:00:00Z", "done_at": "2026-11-27T09:00:01Z"}
    fake.answers["GET /v1/erasures/without-case"] = Answer(200, {"items": [upload, month], "next": None})
    done = diwan("erasure", "list", "--without-case", "--output", "json")
    assert json.loads(done.stdout) == [upload, month]
    assert "done=false" in fake.asked[-1].path
    done = diwan("erasure", "list", "--without-case", "--status", "done")
    assert "searches/2020-01" in done.stdout
    assert "done=true" in fake.asked[-1].path
    for wrong in (("--status", "asked"), ("--ground", "order")):
        refused = diwan("erasure", "list", "--without-case", *wrong)
        assert refused.exit_code == 2
        assert "nobody asks for it" in " ".join(refused.output.split())


def test_erasure_list_reads_page_after_page_with_its_filters(diwan: Diwan, fake: FakeService) -> None:
    row = {"number": "DW-2026-000001", "classes": ["exchange"], "ground": "retention", "status": "asked"}

    def page(asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        assert (query["status"], query["ground"]) == (["asked"], ["retention"])
        start = int(query.get("cursor", ["0"])[0])
        items = [row | {"id": f"e{start + n}"} for n in range(int(query["limit"][0]))]
        return Answer(200, {"items": items, "next": str(start + len(items))})

    fake.answers["GET /v1/erasures"] = page
    asked = ("--status", "asked", "--ground", "retention", "--limit", "450")
    done = diwan("erasure", "list", *asked, "--output", "json")
    assert done.exit_code == 0, done.stderr
    assert [item["id"] for item in json.loads(done.stdout)] == [f"e{n}" for n in range(450)]
    assert len(fake.asked) == 3


def test_case_list_as_a_table_shows_flags(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["GET /v1/cases"] = Answer(200, {"items": [CASE], "next": None})
    done = diwan("case", "list")
    assert "DW-2026-000001" in done.stdout
    assert "instruction_suspected" in done.stdout
    assert "2026-11-23 09:30Z" in done.stdout


def test_no_cases_is_an_empty_list_and_a_sentence(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["GET /v1/cases"] = Answer(200, {"items": [], "next": None})
    assert json.loads(diwan("case", "list", "--output", "json").stdout) == []
    assert diwan("case", "list").stdout == "No cases.\n"


def test_case_show_has_facts_with_their_evidence_and_the_story(diwan: Diwan, fake: FakeService) -> None:
    line = {"seq": 1, "at": CASE["opened_at"], "kind": "event:application:accepted", "actor_kind": "source"}
    line |= {"actor": "demo-intake", "step": "receipt", "visit": 1, "detail": {"documents": 2}, "hash": "ab"}
    fake.answers["GET /v1/cases/DW-2026-000001"] = Answer(200, CASE)
    fake.answers["GET /v1/cases/DW-2026-000001/story"] = Answer(200, {"items": [line], "next": None})
    done = diwan("case", "show", "DW-2026-000001", "--story")
    assert done.exit_code == 0, done.stderr
    for said in (
        "280\u202f000",
        "document",
        "d2 p. 2: 280 000 DH",
        f"\u2068{NAME}\u2069",
        "event:application:accepted",
        "demo-intake",
    ):
        assert said in done.stdout


def test_case_show_draws_its_way(diwan: Diwan, fake: FakeService) -> None:
    at = "2026-11-23T09:30:01.250000Z"
    call = {"call": 1, "attempt": 2, "model": "demo", "engine": "e", "status": "answered", "used": True} | {
        "started_at": at, "seconds": 1.5, "prompt_tokens": 900, "cached_tokens": 256, "completion_tokens": 40,
    }  # fmt: skip
    delivery = {"id": "d", "type": "diwan.case.closed", "webhook": "portal", "attempts": 3, "status": "503"} | {
        "delivered_at": None, "next_at": at,
    }  # fmt: skip
    line = {"seq": 1, "at": at, "actor_kind": "source", "actor": "a", "detail": {"type": "t"}, "effect_after_s": 0.4}
    lines = [
        line | {"kind": "event:application:accepted", "model_call": None, "deliveries": []},
        line | {"kind": "agent:model:called", "model_call": call, "deliveries": [delivery]},
    ]
    visit = {"step": "examine", "visit": 1, "began_at": at, "seconds": 12.0, "lines": lines}
    trace = {"case": "c1", "number": "DW-2026-000001", "trace_id": "4bf92f35", "status": "open", "step": "examine"} | {
        "blocked": "", "rings": 2, "rung_at": at, "visits": [visit], "unanswered": [call | {"seconds": None}],
    }  # fmt: skip
    fake.answers["GET /v1/cases/DW-2026-000001"] = Answer(200, CASE)
    fake.answers["GET /v1/cases/DW-2026-000001/trace"] = Answer(200, trace)
    done = diwan("case", "show", "DW-2026-000001", "--trace")
    assert done.exit_code == 0, done.stderr
    for said in (
        "4bf92f35",
        "examine (1)  12.00 s",
        "2026-11-23 09:30:01.25Z  event:application:accepted type=t (effect after 0.40 s)",
        "demo call 1 attempt 2: 1.50 s, 900 tokens in (256 cached), 40 out",
        "diwan.case.closed → portal: 3 attempts, last 503, next 2026-11-23 09:30:01.25Z",
        "no answer on record",
    ):
        assert said in done.stdout
    assert json.loads(diwan("case", "show", "DW-2026-000001", "--trace", "--output", "json").stdout)["trace"] == trace


def test_case_show_saves_letters_and_names_them(diwan: Diwan, fake: FakeService, tmp_path: Path) -> None:
    fake.answers["GET /v1/cases/c1"] = Answer(200, CASE)
    fake.answers["GET /v1/letters/l1"] = Answer(200, b"%PDF-letter", {"Content-Type": "application/pdf"})
    done = diwan("case", "show", "c1", "--letters", str(tmp_path / "out"), "--output", "json")
    assert json.loads(done.stdout)["saved"] == [str(tmp_path / "out" / "1-receipt.pdf")]
    assert (tmp_path / "out" / "1-receipt.pdf").read_bytes() == b"%PDF-letter"


def test_a_case_that_is_not_there_exits_3(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["GET /v1/cases/none"] = problem(404, "case.not_found", "There is no such case.", "Check the number.")
    done = diwan("case", "show", "none")
    assert done.exit_code == 3
    assert "Check the number." in done.stderr


def test_a_name_with_slashes_stays_one_segment(diwan: Diwan, fake: FakeService) -> None:
    diwan("case", "show", "../tasks")
    assert fake.asked[0].path == "/v1/cases/..%2Ftasks"


def test_task_list_asks_for_the_users_worklist(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["GET /v1/tasks"] = Answer(200, {"items": [TASK], "next": None})
    done = diwan("task", "list", "--mine", "--kind", "review")
    assert parse_qs(urlsplit(fake.asked[0].path).query) == {"mine": ["true"], "kind": ["review"], "limit": ["50"]}
    assert "review" in done.stdout
    assert "demo-clerk" in done.stdout


def test_approve_shows_what_it_is_bound_to_and_sends_that_digest(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["GET /v1/tasks/t1"] = Answer(200, TASK)
    fake.answers["POST /v1/tasks/t1/approve"] = Answer(200, TASK | {"status": "completed", "outcome": "approved"})
    done = diwan("task", "approve", "t1")
    assert done.exit_code == 0, done.stderr
    assert re.search("amount +100\u202f000", done.stdout)
    assert f"\u2068{NAME}\u2069" in done.stdout
    assert fake.asked[-1].json == {"digest": DIGEST}
    assert fake.asked[-1].headers["idempotency-key"]


def test_nothing_is_approved_that_is_not_what_the_digest_says(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["GET /v1/tasks/t1"] = Answer(200, TASK | {"shown": SHOWN | {"proposal": {"amount": 1}}})
    done = diwan("task", "approve", "t1")
    assert done.exit_code == 1
    assert [asked.method for asked in fake.asked] == ["GET"]


def test_with_json_what_is_shown_goes_to_stderr_and_stdout_is_the_answer(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["GET /v1/tasks/t1"] = Answer(200, TASK)
    fake.answers["POST /v1/tasks/t1/approve"] = Answer(200, TASK | {"status": "completed"})
    done = diwan("task", "approve", "t1", "--output", "json")
    assert json.loads(done.stdout)["status"] == "completed"
    assert "amount" in done.stderr


def test_a_digest_given_is_sent_and_nothing_else_is_fetched(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["POST /v1/tasks/t1/approve"] = problem(409, "task.shown_digest_differs", "It changed.", "Look again.")
    done = diwan("task", "approve", "t1", "--digest", "old")
    assert done.exit_code == 5
    assert [(asked.method, asked.json) for asked in fake.asked] == [("POST", {"digest": "old"})]
    assert "Look again." in done.stderr


def test_edit_sends_typed_changes_a_reason_and_a_key_of_ones_own(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["POST /v1/tasks/t1/edit"] = Answer(200, TASK)
    arguments = ("task", "edit", "t1", "--set", "price=350000", "--set", "amount=70000", "--set", "notary=Me X=Y")
    done = diwan(*arguments, "--reason", "The promise says so.", "--digest", "d", "--key", "k-1")
    assert done.exit_code == 0, done.stderr
    assert fake.asked[-1].json == {
        "digest": "d",
        "reason": "The promise says so.",
        "changes": {"price": "350000", "amount": 70000, "notary": "Me X=Y"},
    }
    assert fake.asked[-1].headers["idempotency-key"] == "k-1"


@pytest.mark.parametrize("verb", ["edit", "reject", "return"])
def test_edit_reject_and_return_need_a_reason(diwan: Diwan, fake: FakeService, verb: str) -> None:
    done = diwan("task", verb, "t1", *(("--set", "a=1") if verb == "edit" else ()))
    assert done.exit_code == 2
    assert "--reason" in done.stderr
    assert fake.asked == []


@pytest.mark.parametrize("verb", ["claim", "release"])
def test_claim_and_release_need_no_digest(diwan: Diwan, fake: FakeService, verb: str) -> None:
    fake.answers[f"POST /v1/tasks/t1/{verb}"] = Answer(200, TASK)
    assert diwan("task", verb, "t1").exit_code == 0
    assert len(fake.asked) == 1


def test_an_act_whose_answer_is_lost_is_sent_again_under_its_key(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["POST /v1/tasks/t1/claim"] = [problem(503, "http.busy", "Busy."), Answer(200, TASK)]
    assert diwan("task", "claim", "t1").exit_code == 0
    assert len({asked.headers["idempotency-key"] for asked in fake.asked}) == 1
    assert len(fake.asked) == 2


@pytest.mark.parametrize("text", ["price", "=3", " =3", "amount=", "amount=much", "amount=-1", "amount=1.5"])
def test_a_change_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        changes_of([text])


@pytest.mark.parametrize(
    ("given", "asked"), [("2026-11-23", {"as_of": ["2026-11-23T00:00:00+00:00"]}), ("17", {"entry": ["17"]})]
)
def test_a_case_is_shown_as_it_was_known(
    diwan: Diwan, fake: FakeService, given: str, asked: dict[str, list[str]]
) -> None:
    recorded = [{"what": "fact", "id": "price/document/1", "entry": 7, "at": "2026-11-23T09:31:00Z"}]
    past = CASE | {"known_at": "2026-11-23T09:32:00Z", "recorded": recorded}
    fake.answers["GET /v1/cases/DW-2026-000001/past"] = Answer(200, past)
    result = diwan("case", "show", "DW-2026-000001", "--as-of", given)
    assert result.exit_code == 0, result.output
    assert "As known at 2026-11-23T09:32:00Z, after entry 12" in result.stdout
    assert "price/document/1" in result.stdout
    assert parse_qs(urlsplit(fake.asked[0].path).query) == asked


def test_an_explanation_is_saved(diwan: Diwan, fake: FakeService, tmp_path: Path) -> None:
    fake.answers["POST /v1/cases/DW-2026-000001/explanations"] = Answer(200, b"%PDF-1.7")
    result = diwan("case", "explain", "DW-2026-000001", "-o", str(tmp_path / "new" / "letter.pdf"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "new" / "letter.pdf").read_bytes() == b"%PDF-1.7"
    fake.answers["POST /v1/cases/DW-2026-000001/explanations"] = problem(404, "explanation.no_decision", "no")
    assert diwan("case", "explain", "DW-2026-000001", "-o", str(tmp_path / "x.pdf")).exit_code == 3
