"""The processes of the ledger's tree: `diwan sequencer` grows it, `diwan signer` signs what it has become."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from diwan.cli import running
from diwan.cli.connections import database, ping, signer_client, witnesses_of
from diwan.cli.output import say

if TYPE_CHECKING:
    from diwan.settings import Settings

_GROW_IDLE_S, _PUBLISH_IDLE_S, _WITNESS_IDLE_S = 0.4, 0.5, 1.0


def register(app: typer.Typer) -> None:
    app.command("sequencer")(sequencer)
    app.command("signer")(signer)


def sequencer() -> None:
    """Give entries of the ledger their place in its tree, and have the tree signed as it grows.

    Where DIWAN_LEDGER_WITNESSES names witnesses it asks them to cosign: the only addresses outside that it calls.
    """
    asyncio.run(_sequencer(running.begin("sequencer")))
    running.leave()


async def _sequencer(settings: Settings) -> None:
    from diwan.relay import run_forever
    from diwan.sequencer import Sequencer
    from diwan.witnessing import Witnessing, http_client

    db, client, http = database(settings, "sequencer"), signer_client(settings), http_client()
    asked = Witnessing(db, http, witnesses_of(settings), settings.ledger_origin, time.monotonic)
    async with (
        running.stop_signal() as stop,
        running.health(
            settings.health_host, settings.health_port, {"database": lambda: ping(db), "signer": client.ready}
        ),
    ):
        made = Sequencer(db, client, settings.ledger_origin)
        await asyncio.gather(
            run_forever("tree", made.grow_once, stop, idle_s=_GROW_IDLE_S),
            run_forever("checkpoint", made.publish_once, stop, idle_s=_PUBLISH_IDLE_S),
            *(
                run_forever(f"witness {each.name}", partial(asked.ask_once, each), stop, idle_s=_WITNESS_IDLE_S)
                for each in asked.witnesses
            ),
        )
    await http.aclose()
    await client.aclose()
    await db.dispose()


def signer(
    init: Annotated[bool, typer.Option("--init", help="Make the folder and the callers' token, then end.")] = False,
    rotate: Annotated[
        str, typer.Option("--rotate", metavar="LOG", help="Exchange the key of this log, by its name, then end.")
    ] = "",
) -> None:
    """Sign checkpoints of the ledger's tree, and remember what was signed; on a unix socket or a loopback port.

    Its folder (DIWAN_SIGNER_DIR) holds the log's keys and is to be apart from the database: whoever has both can
    rewrite the ledger. --init makes it, with the token that the sequencer shows (`token`). --rotate wants the signer
    stopped, prints the old verifier key and the new one, and leaves nothing else to be started anew.
    """
    from diwan.local import listen
    from diwan.signer import memory
    from diwan.signer.server import create_app

    settings = running.begin("signer")
    folder = settings.signer_dir or settings.home / "signer"
    if init:
        say(f"made {memory.initialise(folder)}")
        return
    token = memory.read_token(folder)
    if rotate:
        kept = memory.Memory(folder, settings.ledger_origin, lambda: datetime.now(UTC))
        sys.stdout.write("".join(f"{each}\n" for each in kept.rotate(rotate)))
        kept.close()
        return
    with listen.listening(settings.text("signer_address"), "signer") as listener:
        kept = memory.Memory(folder, settings.ledger_origin, lambda: datetime.now(UTC))
        try:
            listen.run(create_app(kept, token), listener, "signer")
        finally:
            kept.close()
