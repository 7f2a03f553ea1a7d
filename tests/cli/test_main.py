"""The frame of the command line: which commands there are, what each takes, how errors leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from diwan import __version__
from diwan.cli.lazy import Entry, LazyGroup, load
from diwan.cli.main import DiwanGroup, app
from diwan.domain import errors
from tests.cli.conftest import Diwan, DiwanProcess

# Processes that run until they are stopped: what they have to say is their log.
SERVERS = {"web", "worker", "relay", "sequencer", "vault", "signer", "witness serve", "pool serve", "issuer", "engine"}


def commands(name: str, command: Any) -> Iterator[tuple[str, TyperCommand]]:
    if not isinstance(command, TyperGroup) or command.invoke_without_command:
        yield name, cast("TyperCommand", command)
    if isinstance(command, TyperGroup):
        for inner, found in command.commands.items():
            yield from commands(f"{name} {inner}", found)


ALL = dict(pair for entry in DiwanGroup.entries.values() for pair in commands(entry.name, load(entry)))


def test_help_lists_every_command_in_its_section(diwan: Diwan) -> None:
    text = diwan("--help").stdout
    for entry in DiwanGroup.entries.values():
        assert f"\n  {entry.name} " in text
        assert f"{entry.section}:" in text


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_and_an_output_option(name: str, diwan: Diwan) -> None:
    assert ALL[name].help
    options = {option for parameter in ALL[name].params for option in parameter.opts}
    assert ("--output" in options) == (name not in SERVERS)
    assert diwan(*name.split(), "--help").exit_code == 0


def test_the_commands_of_the_design_are_there() -> None:
    designed = "up, demo, submit, event send, case list, case show, task list, task show, task claim, task release, "
    designed += "task approve, task edit, task reject, task return, procedure lint, procedure diff, procedure show, "
    designed += "procedure simulate, procedure publish, procedure list, procedure schema, ledger verify, worker, "
    designed += "relay, web, vault, migrate, doctor, token"
    assert set(designed.split(", ")) - set(ALL) == set()


def test_an_unknown_command_is_a_usage_error_with_the_nearest_name(diwan: Diwan) -> None:
    done = diwan("sumbit")
    assert done.exit_code == 2
    assert "No such command 'sumbit'" in done.stderr
    assert "submit" in done.stderr


def test_version_as_option_and_command(diwan: Diwan) -> None:
    assert diwan("--version").stdout == f"diwan {__version__}\n"
    assert json.loads(diwan("version", "--output", "json").stdout)["diwan"] == __version__


def kinds(base: type[errors.DiwanError]) -> Iterator[type[errors.DiwanError]]:
    if base.__module__ == errors.__name__:
        yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("kind", list(kinds(errors.DiwanError)))
def test_every_error_leaves_with_its_exit_code_its_remedy_and_an_empty_stdout(kind: type[errors.DiwanError]) -> None:
    class Failing(LazyGroup):
        entries: ClassVar = {"fail": Entry("fail", "tests.cli.failing", "Fails.", "Tests")}

    failing = typer.Typer(cls=Failing)
    failing.callback()(lambda: None)
    done = CliRunner().invoke(failing, ["fail", kind.__name__])
    assert done.exit_code == kind.exit_code
    assert done.stderr == "diwan: What is wrong. [a.code]\n  What to do.\n  And then this.\n"
    assert done.stdout == ""


def test_the_module_runs_as_a_program(diwan_process: DiwanProcess) -> None:
    done = diwan_process("version", "--output", "json")
    assert (done.returncode, json.loads(done.stdout)["diwan"], done.stderr) == (0, __version__, "")


def test_no_command_at_all_shows_the_help() -> None:
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert "submit" in done.output
