"""`diwan ledger search`, against a fake service."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Diwan
from tests.cli.fake_service import Answer, FakeService, problem

HEADER = {
    "at": "2026-11-23T09:30:12.123456Z",
    "kind": "agent:tool:called",
    "actor": {"kind": "agent", "subject": "dossier-examiner"},
    "detail": {"tool": "read_page"},
}
ENTRY: dict[str, Any] = {"log": "2026", "index": 7, "chain": "c1", "seq": 3, "hash": "00", "header": HEADER}


def answered(*pages: dict[str, Any]) -> list[Answer]:
    return [Answer(200, {"next": None, "waiting": 0, **page}) for page in pages]


def test_what_is_asked_stands_in_a_body_and_the_purpose_beside_it(diwan: Diwan, fake: FakeService):
    fake.answers["POST /v1/entries/search"] = answered({"items": [ENTRY]})
    asked = ("--person", "Zineb Exemplaire", "--since", "2026-11-01", "--overridden", "--purpose", "inquiry/7")
    result = diwan("ledger", "search", *asked)
    assert result.exit_code == 0, result.output
    assert "c1/3" in result.stdout
    assert "2026/7" in result.stdout
    (request,) = fake.asked
    assert request.path == "/v1/entries/search"
    assert request.headers["diwan-purpose"] == "inquiry/7"
    assert request.json == {
        **{"name": "Zineb Exemplaire", "since": "2026-11-01T00:00:00+00:00", "overridden": True},
        **{"limit": 50, "cursor": ""},
    }


def test_pages_are_followed_up_to_the_limit(diwan: Diwan, fake: FakeService):
    fake.answers["POST /v1/entries/search"] = answered({"items": [ENTRY] * 2, "next": "more"}, {"items": [ENTRY] * 5})
    result = diwan("ledger", "search", "--limit", "5", "--output", "json")
    assert len(json.loads(result.stdout)) == 5
    assert [request.json["cursor"] for request in fake.asked] == ["", "more"]


def test_what_was_not_searched_is_said(diwan: Diwan, fake: FakeService):
    fake.answers["POST /v1/entries/search"] = answered({"items": [], "waiting": 3})
    result = diwan("ledger", "search")
    assert (result.exit_code, "3 entries have no place" in result.stderr) == (0, True)


def test_no_instant_is_a_usage_error_and_a_refusal_exits_as_such(diwan: Diwan, fake: FakeService):
    assert diwan("ledger", "search", "--since", "yesterday").exit_code == 2
    fake.answers["POST /v1/entries/search"] = problem(403, "auth.role_missing", "no")
    assert diwan("ledger", "search").exit_code == 4
    fake.answers["POST /v1/entries/search"] = problem(503, "ledger.index_behind", "behind")
    assert diwan("ledger", "search").exit_code == 75
