"""The processes that the others lean on: `diwan vault`, and `issuer` and `engine` of the stack on one machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from diwan.cli import running
from diwan.cli.output import say
from diwan.domain.errors import NeedsPerson

if TYPE_CHECKING:
    from diwan.settings import Settings


def register(app: typer.Typer) -> None:
    app.command("vault")(vault)
    app.command("issuer")(issuer)
    app.command("engine")(engine)


def vault(
    init: Annotated[
        bool, typer.Option("--init", help="Make key file, database and a token for each caller, then end.")
    ] = False,
) -> None:
    """Serve the keys of cases, on a unix socket or a loopback port.

    --init makes what is missing in DIWAN_VAULT_DIR: vault.sqlite, callers.json, tokens/ (one file for each process)
    and the key file, to be backed up apart from all else. To a vault of an earlier version it adds what is new.
    """
    from diwan.vault.callers import Caller
    from diwan.vault.listen import serve
    from diwan.vault.setup import VaultFiles, add_callers, initialise, is_initialised

    settings = running.begin("vault")
    files = VaultFiles.in_folder(settings.vault_dir or settings.home / "vault")
    if settings.vault_key is not None:
        files = VaultFiles(key=settings.vault_key, database=files.database, callers=files.callers)
    if init:
        tokens = files.database.parent / "tokens"
        for folder in (files.database.parent, files.key.parent, tokens):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        of_caller = {caller: tokens / caller.value for caller in Caller}
        if is_initialised(files) and (added := add_callers(files, of_caller)):
            say(f"added to {tokens}: {', '.join(sorted(added))}; start the vault again")
            return
        initialise(files, of_caller)
        say(f"made {files.key}, {files.database}, {files.callers} and {tokens}")
        return
    if not any(path.exists() for path in (files.key, files.database, files.callers)):
        raise NeedsPerson(
            "vault.not_made",
            f"There is no vault in {files.database.parent}.",
            "Make one, once, with `diwan vault --init`, or set DIWAN_VAULT_DIR.",
        )
    serve(files, settings.text("vault_address"))


def issuer() -> None:
    """Serve access tokens for the demo users: one machine, invented cases only."""
    from diwan.embedded.issuer import FOLDER
    from diwan.embedded.issuer_app import serve

    settings = running.begin("issuer")
    serve(settings.home / FOLDER, settings.text("issuer_url"), settings.issuer_port)


def engine() -> None:
    """Serve the demo engine: fixed rules behind vLLM's protocol, not a language model."""
    asyncio.run(_engine(running.begin("engine")))


async def _engine(settings: Settings) -> None:
    from diwan.embedded.demo_engine.app import create_app

    with running.listener("127.0.0.1", settings.engine_port, "DIWAN_ENGINE_PORT") as socket:
        async with running.stop_signal() as stop:
            await running.serve(create_app(), socket, stop)
