"""`diwan demo`: every sample dossier from event to letter, through a whole stack, held against what should come out.

It starts a stack of its own for as long as it takes, on data of its own that is new each time (demo_home.py): samples
are never sent to another service, and two demos come out alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import SecretStr

from diwan import settings, telemetry
from diwan.cli import ledger
from diwan.cli.client import Client
from diwan.cli.credentials import AsRole
from diwan.cli.demo_checks import differences
from diwan.cli.demo_home import fresh_home
from diwan.cli.demo_play import Played, Player
from diwan.cli.demo_report import ENGINE_NOTE, INVENTED_NOTE, Outcome, Report
from diwan.cli.demo_samples import Sample, shipped_samples
from diwan.cli.output import Output, OutputOption, emit, say
from diwan.cli.stack_commands import make_stack, stack_options
from diwan.domain.errors import DiwanError, Final, Unavailable
from diwan.embedded.issuer import fetch_token
from diwan.settings import STACK_FILE, Settings

Json = dict[str, Any]

_TERMINATED = 128 + signal.SIGTERM
_TREE_PATIENCE_S, _TREE_LOOK_S = 30.0, 0.5


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    timeout: Annotated[float, typer.Option("--timeout", min=10, help="Seconds for all dossiers together.")] = 300,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run every sample dossier through a whole stack and check what came out.

    Exits with 0 only if each came out as it should. The engine is rules, not a language model.
    """
    chosen = settings.load()
    telemetry.configure("demo", level="warning")
    say(f"{ENGINE_NOTE} {INVENTED_NOTE}")
    chosen = chosen.model_copy(update={"home": fresh_home(chosen.home)})
    work = _Work(chosen, timeout)
    try:
        report = asyncio.run(_in_own_stack(chosen, work))
    except asyncio.CancelledError:
        say("stopped")
        raise typer.Exit(_TERMINATED) from None
    emit(output, report.as_json(), report.picture)
    if report.differences:
        say("Not as it should be:")
        for difference in report.differences:
            say(f"  {difference}")
        say(f"Logs: {report.logs}")
        raise typer.Exit(1)


def _stack(home: Path) -> Json | None:
    """What the stack of this home wrote down about itself while it runs."""
    try:
        return dict(json.loads((home / STACK_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


async def _in_own_stack(chosen: Settings, work: _Work) -> Report:
    options = replace(stack_options(chosen), port=0)  # nobody else has to find it
    stack = make_stack(options)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    say(f"starting a stack on {options.home} ...")
    await stack.start()
    try:
        return await asyncio.to_thread(work.do)
    finally:
        work.halt()
        say("stopping the stack ...")
        await stack.stop()


class _Work:
    """All dossiers, in threads; `halt` ends them early."""

    def __init__(self, chosen: Settings, timeout: float) -> None:
        self._chosen = chosen
        self._timeout = timeout
        self._halted = threading.Event()

    def halt(self) -> None:
        self._halted.set()

    def do(self) -> Report:
        """Play every sample, save the letters, check the ledger. Raises what keeps it from that."""
        home, began = self._chosen.home, time.monotonic()
        samples = shipped_samples()
        with _users(home) as users:
            say(f"sending {len(samples)} dossiers ...")
            player = Player(users, lambda: began + self._timeout - time.monotonic(), self._sleep, say)
            with ThreadPoolExecutor(max_workers=len(samples)) as threads:
                results = list(threads.map(partial(_played, player), samples))
        if self._halted.is_set():
            raise _stopped()
        # Not in the threads: the library that reads the letters back takes one at a time.
        outcomes = [_outcome(sample, result) for sample, result in zip(samples, results, strict=True)]
        letters = home / "letters"
        _save_letters(outcomes, letters)
        say("checking the ledger ...")
        checked = self._checked()
        return Report(
            home=home,
            outcomes=outcomes,
            ledger=checked.as_json(),
            problem=_problem(checked),
            seconds=time.monotonic() - began,
            letters=letters,
            logs=home / "logs",
        )

    def _checked(self) -> ledger.Checked:
        """Once every entry has its place in the tree and that is signed, or it seems that it never will."""
        until = time.monotonic() + _TREE_PATIENCE_S
        while True:
            checked = asyncio.run(ledger.check(_auditors(self._chosen), ledger.DEMO_TENANT))
            if checked.first_bad or checked.is_signed or time.monotonic() > until:
                return checked
            self._sleep(_TREE_LOOK_S)

    def _sleep(self, seconds: float) -> None:
        if self._halted.wait(seconds):
            raise _stopped()


def _problem(checked: ledger.Checked) -> str:
    if checked.first_bad:
        return f"the ledger does not hold: {checked.first_bad}"
    return "" if checked.is_signed else "the ledger's tree is not signed: see the logs of sequencer and signer"


def _stopped() -> Unavailable:
    return Unavailable("demo.stopped", "The demo was stopped.", "")


def _played(player: Player, sample: Sample) -> Played | DiwanError:
    """A failure is an outcome, too: the others go on."""
    try:
        return player.play(sample)
    except DiwanError as error:
        return error


def _outcome(sample: Sample, result: Played | DiwanError) -> Outcome:
    if isinstance(result, DiwanError):
        return Outcome(sample, None, [f"{result.message} [{result.code}]"])
    return Outcome(sample, result, differences(result))


@contextlib.contextmanager
def _users(home: Path) -> Generator[dict[str, Client]]:
    """A client for each demo user of the stack that runs on `home`."""
    stack = _stack(home)
    if stack is None:
        raise Unavailable("demo.no_stack", "The stack has gone away.", f"See {home / 'logs'}.")

    def token_of(user: str) -> Callable[[], str]:
        return lambda: fetch_token(home, user)

    with contextlib.ExitStack() as clients:
        yield {role.value: clients.enter_context(Client(stack["url"], token_of(role.value))) for role in AsRole}


def _auditors(chosen: Settings) -> Settings:
    """The settings with the database and vault of this home's stack, whatever the environment names."""
    stack = _stack(chosen.home) or {}
    secrets = {name: SecretStr(_line(Path(stack[f"{name}_file"]))) for name in ("database_url_auditor", "vault_token")}
    return chosen.model_copy(update={**secrets, "vault_address": stack["vault_address"]})


def _line(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _save_letters(outcomes: list[Outcome], folder: Path) -> None:
    for played in (outcome.played for outcome in outcomes if outcome.played):
        place = folder / str(played.case["number"])
        try:
            place.mkdir(parents=True, exist_ok=True)
            for number, letter in enumerate(played.letters, start=1):
                (place / f"{number}-{letter.kind}.pdf").write_bytes(letter.pdf)
        except OSError as error:
            _cannot_write(place, error)


def _cannot_write(place: Path, error: OSError) -> NoReturn:
    raise Final("demo.cannot_write", f"{place} cannot be written: {error.strerror}.", "Check its owner.") from None
