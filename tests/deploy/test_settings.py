"""Settings: from variables, a TOML file, secret files, a running stack; wrong ones are named, never repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from diwan import settings
from diwan.cli import settings_reference
from diwan.domain.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the machine's own settings."""
    for name in (*settings.Settings.model_fields, "config"):
        monkeypatch.delenv(f"DIWAN_{name.upper()}", raising=False)
        monkeypatch.delenv(f"DIWAN_{name.upper()}_FILE", raising=False)
    monkeypatch.setenv("DIWAN_HOME", str(tmp_path))
    return tmp_path


def test_a_variable_counts_over_the_file_and_the_file_over_a_running_stack(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "run").mkdir()
    stack = {"url": "http://stack", "issuer_url": "http://stack-issuer", "temporal_address": "stack:1"}
    (home / "run" / "stack.json").write_text(json.dumps(stack))
    (home / "diwan.toml").write_text('issuer_url = "http://file-issuer"\ntemporal_address = "file:1"\n')
    monkeypatch.setenv("DIWAN_TEMPORAL_ADDRESS", "variable:1")
    found = settings.load()
    assert (found.url, found.issuer_url, found.temporal_address) == ("http://stack", "http://file-issuer", "variable:1")
    assert found.port == 8080


def test_another_file_may_be_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "other.toml").write_text("port = 9999\n")
    monkeypatch.setenv("DIWAN_CONFIG", str(home / "other.toml"))
    assert settings.load().port == 9999


@pytest.mark.parametrize("where", ["variable", "toml", "stack"])
def test_a_secret_may_be_in_a_file(home: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    (home / "token").write_text("from-a-file\n")
    if where == "variable":
        monkeypatch.setenv("DIWAN_VAULT_TOKEN_FILE", str(home / "token"))
    elif where == "toml":
        (home / "diwan.toml").write_text(f'vault_token_file = "{home / "token"}"\n')
    else:
        (home / "run").mkdir()
        (home / "run" / "stack.json").write_text(json.dumps({"vault_token_file": str(home / "token")}))
    assert settings.load().secret("vault_token") == "from-a-file"


def test_secrets_do_not_show(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIWAN_DATABASE_URL_WEB", "postgresql://web:s3cret@db/diwan")
    found = settings.load()
    assert "s3cret" not in repr(found) + str(found) + found.model_dump_json()
    assert found.database_url("web").endswith("s3cret@db/diwan")


def test_a_missing_secret_says_how_to_give_it() -> None:
    with pytest.raises(InvalidInput) as raised:
        settings.load().database_url("worker")
    assert "DIWAN_DATABASE_URL_WORKER is not set" in raised.value.message
    assert "DIWAN_DATABASE_URL_WORKER_FILE" in raised.value.remedy


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "s3cret", "DIWAN_PORT"),
        ("PORT", "70000", "DIWAN_PORT"),
        ("LOG_LEVEL", "s3cret", "DIWAN_LOG_LEVEL"),
        ("VAULT_TOKEN_FILE", "/nowhere", "DIWAN_VAULT_TOKEN_FILE: /nowhere"),
        ("CONFIG", "/nowhere.toml", "DIWAN_CONFIG"),
    ],
)
def test_a_wrong_one_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"DIWAN_{name}", value)
    with pytest.raises(InvalidInput) as raised:
        settings.load()
    assert said in raised.value.message
    assert "s3cret" not in str(raised.value)


def test_not_even_pydantic_repeats_it() -> None:
    with pytest.raises(ValidationError) as raised:
        settings.Settings.model_validate({"port": "s3cret"})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("text", ['port = "s3cret', "unknown_name = 's3cret'"])
def test_a_broken_file_is_refused_and_not_repeated(home: Path, text: str) -> None:
    (home / "diwan.toml").write_text(text)
    with pytest.raises(InvalidInput) as raised:
        settings.load()
    assert "s3cret" not in str(raised.value)


def test_misspelt_variables_are_found() -> None:
    given = {"DIWAN_PROT": "1", "DIWAN_PORT": "1", "DIWAN_PORT_FILE": "x", "DIWAN_TOKEN_FILE": "x", "DIWAN_CONFIG": "x"}
    assert settings.unknown_variables(given) == ["DIWAN_PORT_FILE", "DIWAN_PROT"]


def test_the_reference_is_that_of_the_settings() -> None:
    assert (ROOT / "deploy" / "settings.md").read_text() == settings_reference.reference(), "Type: make settings"


def test_every_setting_is_described() -> None:
    assert [name for name, field in settings.Settings.model_fields.items() if not field.description] == []
