"""`diwan submit` and `diwan event send`, against a fake service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Diwan, DiwanProcess
from tests.cli.fake_service import Answer, FakeService, problem
from tests.cli.test_dossier import APPLICATION, folder

ACCEPTED = {
    "status": 202,
    "case": "c1",
    "number": "DW-2026-000001",
    "inbox_seq": 1,
    "address": "/v1/cases/c1",
    "receipt": "/v1/cases/c1/letters/receipt",
    "documents": [
        {"index": 0, "document": "d1", "status": "accepted", "reason": "", "remedy": ""},
        {"index": 1, "document": "d2", "status": "quarantined", "reason": "executable", "remedy": "Send a PDF."},
    ],
}


def case(version: int, step: str, kind: str, status: str = "open", result: str | None = None) -> Answer:
    view = {"id": "c1", "number": "DW-2026-000001", "version": version, "step": step, "kind": kind}
    return Answer(200, view | {"status": status, "result": result, "blocked": ""})


@pytest.fixture
def dossier(tmp_path: Path) -> str:
    place = tmp_path / "dossier"
    place.mkdir()
    return str(folder(place, APPLICATION, card=b"%PDF-1", tool=b"MZ"))


def test_submit_prints_number_receipt_and_what_is_in_quarantine(diwan: Diwan, fake: FakeService, dossier: str) -> None:
    fake.answers["POST /v1/events"] = Answer(202, ACCEPTED)
    done = diwan("submit", dossier)
    assert done.exit_code == 0, done.stderr
    for said in (
        "DW-2026-000001",
        "/v1/cases/c1/letters/receipt",
        "1 of 2 taken",
        "tool.pdf",
        "executable",
        "Send a PDF.",
    ):
        assert said in done.stdout
    assert "card.pdf" not in done.stdout
    assert fake.asked[0].headers["authorization"] == "Bearer a-token"


def test_submit_twice_sends_the_same_event(diwan: Diwan, fake: FakeService, dossier: str) -> None:
    fake.answers["POST /v1/events"] = Answer(202, ACCEPTED)
    diwan("submit", dossier)
    diwan("submit", dossier)
    ids = [asked.body.split(b'"id": "')[1][:40] for asked in fake.asked]
    assert ids[0] == ids[1]


def test_submit_wait_follows_until_a_person_is_needed_and_keeps_stdout_clean(
    diwan: Diwan, fake: FakeService, dossier: str
) -> None:
    fake.answers["POST /v1/events"] = Answer(202, ACCEPTED)
    fake.answers["GET /v1/cases/c1"] = [
        case(1, "receipt", "act"),
        case(2, "examine", "agent"),
        case(4, "review", "task"),
    ]
    done = diwan("submit", dossier, "--wait", "--output", "json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == ACCEPTED | {"case_status": "open", "step": "review", "result": None}
    assert [line.split()[-1] for line in done.stderr.splitlines()] == ["receipt", "examine", "review"]


def test_submit_wait_gives_up_with_try_again(diwan: Diwan, fake: FakeService, dossier: str) -> None:
    fake.answers["POST /v1/events"] = Answer(202, ACCEPTED)
    fake.answers["GET /v1/cases/c1"] = case(2, "examine", "agent")
    done = diwan("submit", dossier, "--wait", "--timeout", "1")
    assert done.exit_code == 75
    assert "diwan case show DW-2026-000001" in done.stderr


def test_a_wrong_folder_is_a_usage_error_and_nothing_is_sent(diwan: Diwan, fake: FakeService, tmp_path: Path) -> None:
    done = diwan("submit", str(tmp_path))
    assert done.exit_code == 2
    assert "application.json" in done.stderr
    assert done.stdout == ""
    assert fake.asked == []


@pytest.mark.parametrize(
    ("answer", "exit_code"),
    [
        (problem(401, "token.invalid", "The token is not valid.", "Get another."), 4),
        (problem(403, "source.not_bound", "This source is not yours.", "Use your own."), 4),
        (problem(404, "procedure.unknown", "There is no such procedure.", "Publish it."), 3),
        (problem(409, "event.same_id_other_body", "This id was used with another body.", "Use a new id."), 5),
        (
            problem(
                422, "event.data_invalid", "Not right.", "Fix it.", errors=[{"pointer": "/data/a", "detail": "No."}]
            ),
            2,
        ),
        (problem(500, "http.internal", "The service could not do this.", "Tell the operator."), 1),
    ],
)
def test_the_services_refusals_become_exit_codes_and_remedies(
    diwan_process: DiwanProcess, fake: FakeService, dossier: str, answer: Answer, exit_code: int
) -> None:
    fake.answers["POST /v1/events"] = answer
    done = diwan_process("submit", dossier, "--output", "json")
    assert done.returncode == exit_code
    assert done.stdout == ""
    assert answer.body["detail"] in done.stderr
    assert answer.body["remedy"] in done.stderr
    assert f"[{answer.body['code']}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_does_not_run_says_what_to_type(diwan_process: DiwanProcess, dossier: str) -> None:
    done = diwan_process("submit", dossier, DIWAN_URL="http://127.0.0.1:1")
    assert done.returncode == 75
    assert "diwan up" in done.stderr


def sent(fake: FakeService) -> dict[str, Any]:
    return fake.asked[-1].json


def test_event_send_builds_a_follow_up(diwan: Diwan, fake: FakeService) -> None:
    fake.answers["POST /v1/events"] = Answer(202, ACCEPTED | {"documents": []})
    done = diwan(
        "event",
        "send",
        "--type",
        "diwan.application.withdrawn",
        "--subject",
        "DW-2026-000001",
        "--data",
        '{"note": "x"}',
    )
    assert done.exit_code == 0, done.stderr
    assert sent(fake) | {"id": ""} == {
        "specversion": "1.0",
        "id": "",
        "source": "urn:diwan:counter",
        "type": "diwan.application.withdrawn",
        "subject": "DW-2026-000001",
        "datacontenttype": "application/json",
        "data": {"note": "x"},
    }


def test_event_send_attaches_documents_with_their_piece(diwan: Diwan, fake: FakeService, tmp_path: Path) -> None:
    fake.answers["POST /v1/events"] = Answer(202, ACCEPTED)
    (tmp_path / "promise.pdf").write_bytes(b"%PDF-promise")
    path = tmp_path / "promise.pdf"
    done = diwan("event", "send", "--type", "diwan.pieces.supplied", "--subject", "c1", "--document", f"promise={path}")
    assert done.exit_code == 0, done.stderr
    assert b'{"name": "promise.pdf", "part": "document-1", "piece": "promise"}' in fake.asked[-1].body
    assert b"%PDF-promise" in fake.asked[-1].body


def test_event_send_passes_a_file_or_stdin_on_as_it_is(diwan: Diwan, fake: FakeService, tmp_path: Path) -> None:
    fake.answers["POST /v1/events"] = Answer(202, ACCEPTED)
    event = {"specversion": "1.0", "id": "e1", "type": "t", "source": "s", "data": {}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert diwan("event", "send", str(tmp_path / "event.json")).exit_code == 0
    assert sent(fake) == event
    assert diwan("event", "send", "-", stdin=json.dumps(event | {"id": "e2"})).exit_code == 0
    assert sent(fake)["id"] == "e2"


@pytest.mark.parametrize(
    "arguments",
    [(), ("x.json", "--type", "t"), ("absent.json",), ("--type", "t", "--data", "{"), ("-", "--subject", "c")],
)
def test_event_send_refuses_what_it_cannot_mean(diwan: Diwan, fake: FakeService, arguments: tuple[str, ...]) -> None:
    done = diwan("event", "send", *arguments, stdin="{}")
    assert done.exit_code == 2
    assert fake.asked == []
