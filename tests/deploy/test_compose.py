"""deploy/compose.yaml: its commands, variables, secrets and health addresses exist. (No container engine is needed.)"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import Route
from typer.core import TyperCommand, TyperGroup

from agents.registry import agent_names, spec_of
from diwan import settings
from diwan.cli import running
from diwan.cli.lazy import load
from diwan.cli.main import DiwanGroup
from diwan.embedded import ports, probes
from diwan.pool.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NEEDED = {
    "migrate": {"database_url_owner"},
    "vault": {"vault_address"},
    "web": {"database_url_web", "vault_address", "vault_token", "issuer_url"},
    "worker": {"database_url_worker", "vault_address", "vault_token", "vault_eraser_token"},
    "relay": {"database_url_relay"},
    "sequencer": {"database_url_sequencer", "signer_address", "signer_token", "ledger_origin"},
    "signer": {"signer_address", "signer_dir", "ledger_origin"},
    "pool": {"database_url_pool", "vault_address", "vault_token", "engine_url"},
}
services = pytest.mark.parametrize("name", SERVICES)


def test_operations_names_files_and_commands_that_exist() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    files = re.findall(r"`(deploy/[\w.-]+|requirements/[\w.-]+)`", page)
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []
    commands = set(re.findall(r"`diwan (\w+)", page))
    assert commands <= set(DiwanGroup.entries), commands
    variables = set(re.findall(r"`(DIWAN_\w+)`", page)) - {"DIWAN_HOME", "DIWAN_CONFIG"}
    assert settings.unknown_variables(dict.fromkeys(variables, "")) == []


def test_every_process_of_the_service_is_there() -> None:
    assert set(SERVICES) == set(NEEDED)


@services
def test_its_command_exists(name: str) -> None:
    words = list(SERVICES[name]["command"])
    command: TyperCommand | TyperGroup = load(DiwanGroup.entries[words.pop(0)])
    while words:
        assert isinstance(command, TyperGroup)
        command = command.commands[words.pop(0)]  # pyright: ignore[reportAssignmentType]
    assert not isinstance(command, TyperGroup) or command.invoke_without_command


@services
def test_its_variables_are_settings(name: str) -> None:
    assert settings.unknown_variables(SERVICES[name]["environment"]) == []


@services
def test_it_has_all_that_its_process_needs_and_no_other_roles_secret(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in _environment(name, tmp_path).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("DIWAN_HOME", str(tmp_path / "home"))
    found = settings.load()
    assert [needed for needed in NEEDED[name] if not getattr(found, needed)] == []
    own = {field for field in settings.Settings.model_fields if field.startswith("database_url_")} | {
        "vault_eraser_token"
    }
    assert {field for field in own if getattr(found, field)} == NEEDED[name] & own


def _environment(name: str, folder: Path) -> dict[str, str]:
    """What compose would set, with a value for what .env must give, and secret files that exist."""
    found: dict[str, str] = {}
    for variable, value in SERVICES[name]["environment"].items():
        text = re.sub(r"\$\{\w+:\?[^}]*\}", "https://from.env.example", str(value))
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
        if variable.endswith("_FILE"):
            secret = folder / Path(text).name
            secret.write_text("a secret")
            text = str(secret)
        found[variable] = text
    return found


@services
def test_its_secrets_are_declared_and_given_to_it(name: str) -> None:
    service = SERVICES[name]
    named = {Path(value).name for value in service["environment"].values() if str(value).startswith("/run/secrets/")}
    assert named == set(service["secrets"])
    assert named <= set(COMPOSE["secrets"])


def test_no_secret_stands_in_the_file() -> None:
    given = {name for service in SERVICES.values() for name in service["environment"]}
    plain = {name for name in settings.Settings.model_fields if settings.is_secret(name)}
    assert not given & {f"DIWAN_{name.upper()}" for name in plain}


def _health_url(name: str) -> tuple[int, str]:
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(SERVICES[name]["healthcheck"]["test"]))
    assert found is not None
    return int(found[1]), found[2]


def test_the_health_address_of_web_is_a_route_on_its_port() -> None:
    from diwan.web.health import router

    port, path = _health_url("web")
    assert port == int(SERVICES["web"]["environment"]["DIWAN_PORT"])
    assert path in {route.path for route in router.routes if isinstance(route, Route)}


@pytest.mark.parametrize("name", ["worker", "relay", "sequencer", "pool"])
async def test_the_health_address_of_a_process_without_http_answers(name: str) -> None:
    port, path = _health_url(name)
    assert port == int(SERVICES[name]["environment"]["DIWAN_HEALTH_PORT"])
    broken = False

    async def check() -> None:
        if broken:
            raise RuntimeError

    free = ports.free_port()
    async with running.health("127.0.0.1", free, {"part": check}):
        assert await probes.http(free, path)()
        assert not await probes.http(free, "/nothing")()
        broken = True
        assert not await probes.http(free, path)()
        assert await probes.http(free, "/healthz")()


async def test_whoever_talks_nonsense_to_a_health_port_does_no_harm() -> None:
    free = ports.free_port()
    async with running.health("127.0.0.1", free, {}):
        reader, writer = await asyncio.open_connection("127.0.0.1", free)
        writer.write(b"\x00\xff\n")
        assert (await reader.read(12)).startswith(b"HTTP/1.1 404")
        writer.close()
        assert await probes.http(free, "/readyz")()


@services
def test_it_runs_without_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_web_is_published_on_this_machine_only_unless_told() -> None:
    assert SERVICES["web"]["ports"] == ["${DIWAN_PUBLISH:-127.0.0.1:8080}:8080"]
    assert not [name for name, service in SERVICES.items() if "ports" in service and name != "web"]


def test_the_example_registry_serves_what_our_agents_need() -> None:
    known = Registry.model_validate_json((ROOT / "deploy" / "registry.example.json").read_bytes())
    assert {spec_of(name).capability for name in agent_names()} <= set(known.capabilities)


def test_the_image_is_built_from_files_that_exist() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    sources = [source for line in copied for source in line.split()[:-1]]
    assert sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_of_a_vault_with_an_hsm_has_all_that_every_other_has() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    assert "requirements/${LOCK}.txt" in text
    assert re.findall(r"^ARG LOCK=(.+)$|--build-arg LOCK=(\w+)", text, re.MULTILINE) == [("", "hsm"), ("run", "")]
    usual, with_hsm = (
        set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE))
        for lock in ("run", "hsm")
    )
    assert usual < with_hsm
    assert any(pin.startswith("python-pkcs11==") for pin in with_hsm - usual)
