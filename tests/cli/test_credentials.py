"""Where a token comes from: what was asked for, what was given, or the demo user of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diwan.cli import credentials
from diwan.cli.credentials import AsRole, token_source
from diwan.domain.actor import Role
from diwan.domain.errors import Unauthenticated
from diwan.embedded.issuer import FOLDER, write_secrets
from diwan.embedded.issuer_app import DEMO_USERS
from tests.cli.conftest import Diwan
from tests.cli.fake_service import Answer, Asked, FakeService

HERE, ELSEWHERE = "http://127.0.0.1:8080", "https://diwan.example"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DIWAN_TOKEN", "DIWAN_TOKEN_FILE", "DIWAN_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DIWAN_HOME", str(tmp_path / "home"))


@pytest.fixture
def demo_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def token(role: AsRole) -> str:
        return f"demo token of {role.value}"

    monkeypatch.setattr(credentials, "embedded_token", token)


def test_there_is_a_demo_user_for_each_role_that_can_be_named() -> None:
    assert {f"demo-{role}" for role in AsRole} == set(DEMO_USERS)
    assert {role.value for role in AsRole} >= {role.value for role in Role}


@pytest.mark.usefixtures("demo_tokens")
def test_a_role_named_wins_over_a_token_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIWAN_TOKEN", "given")
    assert token_source(AsRole.AUTHORITY, AsRole.CLERK, HERE)() == "demo token of authority"
    assert token_source(None, AsRole.CLERK, HERE)() == "given"


@pytest.mark.usefixtures("demo_tokens")
def test_the_usual_role_is_for_this_machine_only() -> None:
    assert token_source(None, AsRole.CLERK, HERE)() == "demo token of clerk"
    with pytest.raises(Unauthenticated) as caught:
        token_source(None, AsRole.CLERK, ELSEWHERE)()
    assert "DIWAN_TOKEN_FILE" in caught.value.remedy


@pytest.mark.usefixtures("demo_tokens")
def test_token_prints_the_bare_token_or_json(diwan: Diwan) -> None:
    assert diwan("token", "--as", "clerk").stdout == "demo token of clerk\n"
    assert json.loads(diwan("token", "--as", "clerk-2", "--output", "json").stdout)["access_token"].endswith("clerk-2")
    assert diwan("token", "--as", "king").exit_code == 2
    assert diwan("token").exit_code == 2


def test_the_embedded_issuer_is_asked_with_the_users_own_secret(
    diwan: Diwan, fake: FakeService, tmp_path: Path
) -> None:
    (tmp_path / "home/run").mkdir(parents=True)
    (tmp_path / "home/run/stack.json").write_text(json.dumps({"issuer_url": fake.url}))
    (tmp_path / "home" / FOLDER).mkdir()
    write_secrets(tmp_path / "home" / FOLDER, {"demo-clerk": "s3cret"})
    asked: list[Asked] = []

    def token(request: Asked) -> Answer:
        asked.append(request)
        return Answer(200, {"access_token": "issued"})

    fake.answers["POST /token"] = token
    assert diwan("token", "--as", "clerk").stdout == "issued\n"
    assert asked[0].headers["authorization"] == "Basic ZGVtby1jbGVyazpzM2NyZXQ="


def test_without_a_stack_the_remedy_is_to_start_one(diwan: Diwan) -> None:
    done = diwan("token", "--as", "clerk")
    assert done.exit_code == 75
    assert "diwan up" in done.stderr
