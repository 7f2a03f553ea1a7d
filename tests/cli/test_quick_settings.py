"""The quick reading of settings agrees with the full one, and client commands stay quick."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diwan import settings
from diwan.cli import quick_settings
from diwan.domain.errors import InvalidInput
from tests.cli.conftest import DiwanProcess
from tests.cli.fake_service import Answer, FakeService

CASES = {
    "nothing": ({}, "", {}),
    "variables": ({"DIWAN_URL": "http://a:1", "DIWAN_TOKEN": "t1"}, 'url = "http://b:1"\ntoken = "t2"', {}),
    "variable over its file": ({"DIWAN_TOKEN": "t1", "DIWAN_TOKEN_FILE": "SECRET"}, "", {}),
    "secret file": ({"DIWAN_TOKEN_FILE": "SECRET"}, 'token = "t2"', {}),
    "empty variable": ({"DIWAN_URL": "", "DIWAN_TOKEN": ""}, 'url = "http://b:1"\ntoken = "t2"', {}),
    "toml": ({}, 'url = "http://b:1"\ntoken = "t2"', {"url": "http://c:1"}),
    "toml with a secret file": ({}, 'token_file = "SECRET"', {}),
    "toml with both": ({}, 'token = "t2"\ntoken_file = "SECRET"', {}),
    "running stack": ({}, "", {"url": "http://127.0.0.1:9999"}),
}


@pytest.mark.parametrize("case", CASES)
def test_both_readings_agree(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, toml, stack = CASES[case]
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/stack.json").write_text(json.dumps(stack))
    (tmp_path / "diwan.toml").write_text(toml.replace("SECRET", str(secret)))
    for name in ("URL", "TOKEN", "TOKEN_FILE", "CONFIG"):
        monkeypatch.delenv(f"DIWAN_{name}", raising=False)
    monkeypatch.setenv("DIWAN_HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("SECRET", str(secret)))
    full = settings.load()
    token = full.token.get_secret_value() if full.token else ""
    assert (quick_settings.home(), quick_settings.url(), quick_settings.token()) == (full.home, full.url, token)


@pytest.mark.parametrize("root", [True, False])
def test_the_home_when_none_is_given_is_the_same(root: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIWAN_HOME", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    assert quick_settings.home() == settings.default_home()


@pytest.mark.parametrize("value", ["ftp://x", "localhost:8080", "http://"])
def test_an_address_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIWAN_URL", value)
    with pytest.raises(InvalidInput, match="not an address"):
        quick_settings.url()


def test_an_address_loses_its_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIWAN_URL", "https://diwan.example/")
    assert quick_settings.url() == "https://diwan.example"


# typer itself draws in pydantic when it reads options; nothing else of that weight may come on top.
SLOW = {"pydantic_settings", "diwan.domain.event", "sqlalchemy", "temporalio", "fastapi", "click.core", "pygments"}


@pytest.mark.parametrize("command", ["--help", "case list", "task show t1", "task approve t1", "token --as clerk"])
def test_no_client_command_imports_a_slow_library(command: str, diwan_process: DiwanProcess, fake: FakeService) -> None:
    fake.answers["GET /v1/cases"] = Answer(200, {"items": [], "next": None})
    imported = diwan_process(*command.split(), PYTHONPROFILEIMPORTTIME="1").stderr
    names = {line.rpartition("|")[2].strip() for line in imported.splitlines() if line.startswith("import time:")}
    assert "typer" in names
    assert names & SLOW == set()
