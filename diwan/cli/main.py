"""The `diwan` command line: which commands there are. Each module of this package registers its own.

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 refused, 5 conflict, 75 try again (diwan/domain/errors.py).
"""

from __future__ import annotations

import sys
from typing import Annotated, ClassVar

import typer

from diwan import __version__
from diwan.cli.lazy import Entry, LazyGroup

CASEWORK = "Cases and tasks (clients of a running service)"
PROCEDURES = "Procedures and the ledger"
SERVICE = "The service"
PROCESSES = "Its processes, one each (`diwan up` runs them all)"

_ENTRIES = (
    Entry("submit", "diwan.cli.submit", "Send an application: a folder of application.json and documents/.", CASEWORK),
    Entry("event", "diwan.cli.event", "Send a CloudEvent, or build and send a follow-up.", CASEWORK),
    Entry("case", "diwan.cli.case", "List cases, show one with its story, save its letters.", CASEWORK),
    Entry("task", "diwan.cli.task", "Work the worklist: claim, approve, edit, reject, return.", CASEWORK),
    Entry("erasure", "diwan.cli.erasure", "See and approve what is to be erased; legal holds.", CASEWORK),
    Entry("clock", "diwan.cli.clock", "See whether legal dates stand still; confirm the time.", CASEWORK),
    Entry("procedure", "diwan.cli.procedure", "Lint, compare, simulate and publish procedures.", PROCEDURES),
    Entry("ledger", "diwan.cli.ledger", "Recompute the record of every change; prove single entries.", PROCEDURES),
    Entry("demo", "diwan.cli.demo", "Run every sample dossier through a whole stack and check what came out.", SERVICE),
    Entry("up", "diwan.cli.stack_commands", "Start the whole service on this machine.", SERVICE),
    Entry("doctor", "diwan.cli.stack_commands", "Say what is missing on this machine and what to type.", SERVICE),
    Entry("migrate", "diwan.cli.stack_commands", "Bring the database's schema to this version.", SERVICE),
    Entry("tenant", "diwan.cli.tenant", "Set up a ministry: who sends, who signs, where events go.", SERVICE),
    Entry("token", "diwan.cli.token", "Print an access token of the embedded stack's issuer.", SERVICE),
    Entry("version", "diwan.cli.version", "Print the version.", SERVICE),
    Entry("web", "diwan.cli.processes", "Serve the API: intake, cases, tasks, procedures.", PROCESSES),
    Entry("worker", "diwan.cli.processes", "Carry cases through their procedures.", PROCESSES),
    Entry("pool", "diwan.cli.processes", "Take model calls to the engine beside it.", PROCESSES),
    Entry("relay", "diwan.cli.processes", "Ring the workflows of cases; deliver webhooks.", PROCESSES),
    Entry("sequencer", "diwan.cli.ledger_processes", "Grow the ledger's tree, have it signed.", PROCESSES),
    Entry("signer", "diwan.cli.ledger_processes", "Sign the ledger's checkpoints, and remember.", PROCESSES),
    Entry("witness", "diwan.cli.witness", "See that logs only grow, and cosign them (outside parties).", PROCESSES),
    Entry("vault", "diwan.cli.vault", "Serve the keys of cases on a private socket.", PROCESSES),
    Entry("issuer", "diwan.cli.supporting", "Serve demo users' tokens (embedded stack only).", PROCESSES),
    Entry("engine", "diwan.cli.supporting", "Serve the demo engine: rules, not a language model.", PROCESSES),
)


class DiwanGroup(LazyGroup):
    """The top-level group."""

    entries: ClassVar = {entry.name: entry for entry in _ENTRIES}


app = typer.Typer(
    name="diwan",
    cls=DiwanGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,  # locals hold applicants' data and tokens
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Diwan takes a citizen's request from event to signed decision, on a ministry's own machines.",
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 refused, 5 conflict, 75 try again.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diwan {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]  # registered by the decorator
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Diwan takes a citizen's request from event to signed decision, on a ministry's own machines."""


def run() -> None:
    """Entry point of the `diwan` script and of `python -m diwan.cli.main`."""
    try:
        app(prog_name="diwan")
    except SystemExit as end:
        if "temporalio.client" in sys.modules and isinstance(end.code, int):
            from diwan.cli import running

            running.leave(end.code)
        raise


if __name__ == "__main__":
    run()
