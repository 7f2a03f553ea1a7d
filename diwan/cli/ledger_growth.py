"""`diwan ledger grown`, `verify-grown`: that the log of today begins with the checkpoint that somebody kept; `cosign`.

Growth is asked of the service's public addresses, as anybody may; the file is what a witness is sent, too
(ledger/witnessed.py), and `cosign` stores what a witness without a network made of it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diwan.cli.ledger_proofs import PolicyOption, bytes_of, policy_of, published, satisfying, write
from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.errors import InvalidInput, NotFound, Retry, Tampered

if TYPE_CHECKING:
    from diwan.ledger.checkpoint import Checkpoint
    from diwan.ledger.note import Note
    from diwan.ledger.policy import Policy
    from diwan.ledger.witnessed import Growth
    from diwan.settings import Settings

ShardOption = Annotated[str, typer.Option("--shard", metavar="YEAR", help="Of the log of this year.")]


def grown(
    note: Annotated[Path, typer.Argument(metavar="NOTE", help="A checkpoint that you kept.")],
    to: Annotated[Path | None, typer.Option("--to", "-o", metavar="FILE", help="Where the proof goes.")] = None,
    shard: ShardOption = "",
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Up to a checkpoint that satisfies it.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prove that the log has only grown since a checkpoint that you kept: a consistency proof, and the newest one."""
    before = _kept(note, None)
    growth = growth_since(before.size, shard, None if policy is None else policy_of(policy))
    growth.check_from(before.root)
    if to is not None:
        write(to, bytes(growth))
        say(f"wrote {to}")
    if output is Output.JSON:
        told = {"old": growth.old, "proof": [each.hex() for each in growth.proof], "note": bytes(growth.note).decode()}
        emit(output, told, lambda width: record([]))
    elif to is None:
        sys.stdout.write(bytes(growth).decode())


def verify_grown(
    note: Annotated[Path, typer.Argument(metavar="NOTE", help="The checkpoint that you kept.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A proof, as `diwan ledger grown` makes it.")],
    policy: PolicyOption,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check such a proof with nothing but the files and your policy. Exits with 1 where it shows nothing."""
    from diwan.ledger.witnessed import parse_growth

    trusted = policy_of(policy)
    before = _kept(note, trusted)
    growth = parse_growth(bytes_of(file))
    now = trusted.checkpoint(growth.note)
    if (before.origin, before.size) != (now.origin, growth.old):
        raise Tampered("growth.of_another", "The proof is of another log, or from another checkpoint than yours.")
    growth.check_from(before.root)
    told = {"holds": True, "log": now.origin, "from": before.size, "size": now.size, "root": now.root.hex()}
    emit(output, told, lambda width: record(list(told.items())))


def cosign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `diwan witness sign` made it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Store the cosignature of a witness that has no network, brought back by file, with the checkpoint that it is of.

    The witness must be one of DIWAN_LEDGER_WITNESSES, the checkpoint signed by the log and of this very tree. Connects
    as the sequencer (DIWAN_DATABASE_URL_SEQUENCER) and asks the signer for the log's keys.
    """
    from diwan import settings
    from diwan.ledger.note import parse_note

    told = asyncio.run(_kept_there(settings.load(), parse_note(bytes_of(file))))
    emit(output, told, lambda width: record(list(told.items())))


async def _kept_there(chosen: Settings, note: Note) -> dict[str, Any]:
    from diwan.cli.connections import database, signer_client, witnesses_of
    from diwan.ledger.note import parse_vkey
    from diwan.ledger.policy import Policy
    from diwan.store.ledger_cosigned import keep_brought

    db, signer = database(chosen, "sequencer"), signer_client(chosen)
    try:
        said = await signer.keys()
        # What an exchanged key signed counts here: that it is of this very tree is looked up.
        keys = tuple(map(parse_vkey, (*said.retired, *said.keys)))
        trusted = Policy(keys, witnesses_of(chosen).witnesses)
        async with db.transaction(None) as conn:
            checkpoint = await keep_brought(conn, note, trusted)
        return {"log": checkpoint.origin, "size": checkpoint.size, "cosigned": sorted(trusted.cosigned(note))}
    finally:
        await signer.aclose()
        await db.dispose()


def growth_since(old: int, shard: str, policy: Policy | None = None) -> Growth:
    """From `old` entries to the newest checkpoint, or one that satisfies a policy, by the service's public addresses.

    Raises `Tampered` where what they give does not make one tree, `InvalidInput` where the log is shorter, `Retry`
    where witnesses are missing that the policy wants.
    """
    from diwan import settings
    from diwan.cli.client import Client, segment
    from diwan.ledger.checkpoint import parse_checkpoint
    from diwan.ledger.tiles import TiledTree, wanted
    from diwan.ledger.tree import consistency_proof
    from diwan.ledger.witnessed import Growth

    prefix = f"/ledger/{segment(shard)}" if shard else "/ledger"
    with Client(settings.load().url, lambda: "") as client:
        note = published(client, shard, "checkpoint")
        size = parse_checkpoint(note.text).size
        if old > size:
            raise InvalidInput(
                "ledger.shorter_than_kept",
                f"The log has {size} entries, and you say that it had {old}.",
                "Is it of another year (--shard)? If not, entries were lost: keep your note, and tell the auditor.",
            )
        if policy is not None:
            note = satisfying(client, shard, policy, note)
            size = parse_checkpoint(note.text).size
            if old > size:
                raise Retry("ledger.not_witnessed", "Witnesses have cosigned less than you kept yet.", "Try again.")
        try:
            tiles = {
                tile.full: client.download(f"{prefix}/{tile.path}")
                for tile in wanted(size, lambda node: consistency_proof(old, size, node))
            }
        except NotFound:  # the newest log is another one since a moment ago
            raise Retry("ledger.moved_on", "The log moved on meanwhile.", "Try again.") from None
    proof = consistency_proof(old, size, TiledTree(size, lambda tile: tiles[tile.full]).node)
    return Growth(old, tuple(proof), note)


def _kept(path: Path, policy: Policy | None) -> Checkpoint:
    """What somebody kept: signed by a log of the policy, where there is one; witnesses are not asked of what is old."""
    from diwan.ledger.checkpoint import parse_checkpoint
    from diwan.ledger.note import parse_note

    note = parse_note(bytes_of(path))
    return parse_checkpoint(note.text) if policy is None else policy.signed(note)
