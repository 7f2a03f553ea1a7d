"""`diwan witness`: what an outside party runs, on a machine of its own, with nothing of the service's.

`init`, `follow`, `show` and `sign` need no network; `serve` answers logs by HTTP; `request` asks a service's public
addresses for the file that `sign` reads.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diwan.cli.lazy import command_group
from diwan.cli.ledger_growth import ShardOption, growth_since
from diwan.cli.ledger_proofs import bytes_of, write
from diwan.cli.output import Output, OutputOption, emit, record

if TYPE_CHECKING:
    from diwan.settings import Settings
    from diwan.witness.memory import Memory

_SAYS = "See that logs only grow, and cosign what they have become: for outside parties, on a machine of their own."


def register(app: typer.Typer) -> None:
    group = command_group(_SAYS)
    for command in (init, follow, show, serve, request, sign):
        group.command(command.__name__)(command)
    app.add_typer(group, name="witness")


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As an address: witness.court.example/1")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the witness's folder and key, once, and print the verifier key that auditors and logs are to be given."""
    from diwan.witness.memory import initialise

    key = initialise(_folder(_settings()), name)
    if output is Output.JSON:
        emit(output, {"key": str(key)}, lambda width: record([]))
    else:
        sys.stdout.write(f"{key}\n")


def follow(
    keys: Annotated[list[str], typer.Argument(metavar="VKEY", help="The log's key that signs now, alone.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow a log: cosign it from now on where this key signed. The key given before for that log is dropped.

    Get it from the log's operator by a way that you trust; each year's log has its own. A witness that serves takes
    it at once.
    """
    from diwan.domain.errors import InvalidInput
    from diwan.ledger.note import parse_vkey

    key, *others = map(parse_vkey, keys)
    if others:
        raise InvalidInput(
            "witness.several_keys",
            "A log signs with one key, and one that it has exchanged may be a thief's.",
            "Give one key at a time: of each log the one that signs now (`diwan ledger vkey`).",
        )
    with _memory(_settings(), cosigning=False) as memory:
        memory.follow(key)
    emit(output, {"follows": key.name}, lambda width: record([("follows", key.name)]))


def show(output: OutputOption = Output.TABLE) -> None:
    """Print the witness's verifier key, the logs that it follows, and how much of each it cosigned last."""
    with _memory(_settings(), cosigning=False) as memory:
        key, logs = str(memory.verifier), memory.followed()
    told = [{**asdict(each), "keys": [str(one) for one in each.keys]} for each in logs]
    pairs = [("key", key), *((each.origin, f"{each.size} entries, {len(each.keys)} keys") for each in logs)]
    emit(output, {"key": key, "logs": told}, lambda width: record(pairs))


def serve() -> None:
    """Answer logs on DIWAN_HOST and DIWAN_PORT, as c2sp.org/tlog-witness says. Put a TLS proxy before it."""
    from diwan.cli import running

    asyncio.run(_serve(running.begin("witness")))


async def _serve(settings: Settings) -> None:
    from diwan.cli import running
    from diwan.witness.server import create_app

    with _memory(settings) as memory, running.listener(settings.host, settings.port, "DIWAN_PORT") as listener:
        async with running.stop_signal() as stop:
            await running.serve(create_app(memory), listener, stop)


def request(
    to: Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="Where the request goes.")],
    after: Annotated[int, typer.Option("--after", min=0, help="Entries that the witness cosigned last.")] = 0,
    shard: ShardOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Fetch what a witness without a network needs to cosign the newest checkpoint: carry it there, and `sign` it."""
    growth = growth_since(after, shard)
    write(to, bytes(growth))
    emit(output, {"file": str(to), "after": after}, lambda width: record([("wrote", str(to))]))


def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `diwan witness request` made it.")],
    to: Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="Where the cosigned checkpoint goes.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Cosign a checkpoint without a network, if the log has only grown since the last one; carry the answer back.

    `diwan ledger cosign` stores it with the log; keep a copy yourself. What was cosigned last is given again for the
    same request.
    """
    from diwan.ledger.checkpoint import parse_checkpoint
    from diwan.ledger.witnessed import parse_growth

    growth = parse_growth(bytes_of(file))
    with _memory(_settings()) as memory:
        note = memory.add_or_repeat(growth)
    write(to, bytes(note))
    said = parse_checkpoint(note.text)
    told = {"file": str(to), "log": said.origin, "size": said.size}
    emit(output, told, lambda width: record(list(told.items())))


def _settings() -> Settings:
    from diwan import settings

    return settings.load()


def _folder(settings: Settings) -> Path:
    return settings.witness_dir or settings.home / "witness"


@contextmanager
def _memory(settings: Settings, *, cosigning: bool = True) -> Generator[Memory]:
    from diwan.witness.memory import Memory

    memory = Memory(_folder(settings), lambda: datetime.now(UTC), cosigning=cosigning)
    try:
        yield memory
    finally:
        memory.close()
