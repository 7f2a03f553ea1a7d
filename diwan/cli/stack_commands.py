"""`diwan up`, `doctor` and `migrate`: the service on this machine, from the settings."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diwan import settings, telemetry
from diwan.cli.connections import registry
from diwan.cli.output import Column, Output, OutputOption, emit, record, say, table
from diwan.domain.errors import DiwanError, InvalidInput
from diwan.settings import Settings

if TYPE_CHECKING:
    from diwan.embedded.parts import Options, OwnEngine
    from diwan.embedded.supervisor import Stack


def register(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("doctor")(doctor)
    app.command("migrate")(migrate)


def stack_options(chosen: Settings) -> Options:
    """The embedded stack as the settings want it; a person waits less long for a demo engine than for a GPU."""
    from diwan.embedded.parts import Options

    options = Options(
        home=chosen.home,
        port=chosen.port,
        postgres_port=chosen.postgres_port,
        temporal_port=chosen.temporal_port,
        issuer_port=chosen.issuer_port,
        engine_port=chosen.engine_port,
        worker_versioning="off" if chosen.worker_versioning == "off" else "alone",
    )
    if "agent_patience_s" in chosen.model_fields_set:
        return replace(options, agent_patience_s=chosen.agent_patience_s)
    return options


def own_engine(chosen: Settings) -> OwnEngine | None:
    """The vLLM that the settings name for the stack, or None: then the demo engine answers.

    Raises `InvalidInput` where they do not say which model it serves, `NotFound` where that is not registered.
    """
    from diwan.embedded.parts import OwnEngine

    if not chosen.engine_url:
        return None
    chosen.text("registry")
    known = registry(chosen)
    model = known.model(chosen.text("engine_model")).name
    key = chosen.engine_key.get_secret_value() if chosen.engine_key else ""
    return OwnEngine(url=chosen.engine_url, model=model, registry=known, key=key)


def make_stack(options: Options, report: Callable[[str], None] = say) -> Stack:
    """A stack with the demo ministry in it; `report` gets lines for the operator."""
    from diwan.embedded.bootstrap import bootstrap
    from diwan.embedded.supervisor import Stack

    return Stack(options, bootstrap=lambda parts: bootstrap(parts, clock=_now, say=report), say=report)


def _now() -> datetime:
    return datetime.now(UTC)


_CAN_BE_LEFT_OUT = frozenset({"engine", "pool"})


# --- up -------------------------------------------------------------------------------------------------------------


def up(
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="PART", help="Leave a part out: engine or pool (then people do every step)."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start the whole service on this machine and keep it running until Ctrl-C.

    Prints the addresses when everything is ready. Data stays in DIWAN_HOME; the next start takes up from there.
    With DIWAN_ENGINE_URL, DIWAN_ENGINE_MODEL and DIWAN_REGISTRY your own vLLM answers instead of the demo engine.
    """
    left_out = frozenset(without or ())
    if unknown := left_out - _CAN_BE_LEFT_OUT:
        raise InvalidInput(
            "up.cannot_leave_out",
            f"The service does not run without {', '.join(sorted(unknown))}.",
            f"These can be left out: {', '.join(sorted(_CAN_BE_LEFT_OUT))}.",
        )
    chosen = settings.load(of_stack=False)
    telemetry.configure("up", level="warning")
    engine = None if "engine" in left_out else own_engine(chosen)
    asyncio.run(_up(replace(stack_options(chosen), without=left_out, engine=engine), output))


async def _up(options: Options, output: Output) -> None:
    stack = make_stack(options)
    stop = _stop_on_signals(stack)
    say(f"starting on {options.home} ...")
    starting, stopped = asyncio.create_task(stack.start()), asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    await starting
    _show_addresses(stack, output)
    await stopped
    say("stopping ...")
    await stack.stop()
    say(f"stopped. Data is kept in {options.home}")


def _stop_on_signals(stack: Stack) -> asyncio.Event:
    """The first signal asks for an orderly stop, the second for a quick one."""
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            stack.hasten()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # `nohup diwan up` outlives its terminal
        loop.add_signal_handler(number, asked)
    return stop


def _show_addresses(stack: Stack, output: Output) -> None:
    urls, home = stack.urls, stack.home
    data = {
        "url": urls.web,
        "openapi": f"{urls.web}/openapi.json",
        "issuer": urls.issuer,
        "engine": urls.engine,
        "temporal": urls.temporal,
        "home": str(home.path),
        "logs": str(home.logs),
    }
    emit(output, data, lambda width: record(list(data.items()), title="Diwan is ready"))
    say(f"{_about_engine(stack.options)} The issuer knows invented users only. Ctrl-C stops.")


def _about_engine(options: Options) -> str:
    if options.engine:
        return f"The engine is yours, for model {options.engine.model}."
    if "engine" in options.without:
        return "There is no engine: people do every step."
    return "The engine is a demo: rules, not a language model."


# --- doctor ---------------------------------------------------------------------------------------------------------


def doctor(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Instead compare every open case with Temporal and bring back what it lost."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what is missing or wrong on this machine, which cases are stuck, and what to type.

    Exit code 1 when something is wrong. With --repair each open case is shown with what was found and done: 1 when
    some are blocked or cannot go on, 75 when Temporal or the database does not answer.
    """
    from diwan.cli import fairness
    from diwan.cli import repair as cases
    from diwan.embedded.doctor import Finding, State, examine

    if repair:
        chosen = settings.load()
        telemetry.configure("doctor", level="warning")
        cases.repair(chosen, output)
        return
    findings = [
        Finding(name, State.NOTE, "no setting has this name", "See deploy/settings.md for the names.")
        for name in settings.unknown_variables(os.environ)
    ]
    try:
        chosen = settings.load()
    except DiwanError as error:
        findings.append(Finding("settings", State.WRONG, error.message, error.remedy))
    else:
        findings += asyncio.run(examine(stack_options(chosen)))
        findings += cases.findings(chosen)
        findings += fairness.findings(chosen)
    rows: list[dict[str, Any]] = [
        {"what": found.what, "state": found.state.value, "detail": found.detail, "remedy": found.remedy}
        for found in findings
    ]
    columns = (
        Column("what", "what"),
        Column("state", "state"),
        Column("detail", "detail"),
        Column("what to do", "remedy"),
    )
    emit(output, rows, lambda width: table(columns, rows, width=width))
    if any(found.state is State.WRONG for found in findings):
        raise typer.Exit(1)


# --- migrate --------------------------------------------------------------------------------------------------------


def migrate(output: OutputOption = Output.TABLE) -> None:
    """Bring the database's schema to this version, as the owner's role. Safe to repeat."""
    from diwan.store import migrate as schema

    chosen = settings.load()
    telemetry.configure("migrate", level=chosen.log_level)
    url = chosen.database_url("owner")
    data = {"before": schema.current(url) or "", "after": schema.upgrade(url)}
    emit(output, data, lambda width: record(list(data.items())))
