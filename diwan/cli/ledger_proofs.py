"""`diwan ledger prove`, `checkpoint` and `vkey`: what stands in the log, for those outside."""

from __future__ import annotations

import asyncio
import base64
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.errors import InvalidInput, Retry

if TYPE_CHECKING:
    from diwan.cli.client import Client
    from diwan.ledger.checkpoint import Checkpoint
    from diwan.ledger.note import Note
    from diwan.ledger.policy import Policy
    from diwan.ledger.proof import EntryProof
    from diwan.settings import Settings
    from diwan.signer.protocol import KeysAnswer

Json = dict[str, Any]
PolicyOption = Annotated[
    Path, typer.Option("--policy", metavar="FILE", help="Whom you trust: the log's keys and its witnesses.")
]


def prove(
    entry: Annotated[
        str, typer.Argument(metavar="ENTRY", help="CASE/NUMBER: the case's id or number, and which entry.")
    ],
    tenant: Annotated[str, typer.Option("--tenant", help="The ministry whose entry it is.")] = "demo",
    to: Annotated[Path | None, typer.Option("--to", "-o", metavar="FILE", help="Where the proof goes.")] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Proved in a checkpoint that satisfies it.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prove that an entry stands in the log: a file that anybody checks with no network and no service.

    It is a c2sp.org/tlog-proof with the entry's header as its extra data. Without -o it goes to standard output, unless
    --output json is asked for.
    """
    from diwan import settings

    chain, _, number = entry.rpartition("/")
    if not chain or not (number.isascii() and number.isdecimal()):
        raise InvalidInput(
            "ledger.not_an_entry", f"{entry} names no entry.", "It reads CASE/NUMBER, as in DW-2026-000142/7."
        )
    wanted = None if policy is None else policy_of(policy)
    proof = asyncio.run(_proof(settings.load(), tenant, chain, int(number), wanted))
    if to is not None:
        write(to, bytes(proof))
        say(f"wrote {to}")
    if output is Output.JSON:
        emit(output, _told(proof), lambda width: record([]))
    elif to is None:
        sys.stdout.write(bytes(proof).decode())


def checkpoint(
    shard: Annotated[str, typer.Option("--shard", metavar="YEAR", help="Of the log of this year.")] = "",
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Check it: the log's keys and its witnesses.")
    ] = None,
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="The newest of the last hour that most witnesses cosigned.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the newest checkpoint of the log, as it was signed, and say who has cosigned it and when.

    With a policy that wants witnesses: the newest if they have cosigned it already, else the newest of the last hour
    that most cosigned. Without a policy the names are those in its lines, which nobody has checked.
    """
    from diwan import settings
    from diwan.cli.client import Client
    from diwan.ledger.checkpoint import claimed, parse_checkpoint

    trusted = None if policy is None else policy_of(policy)
    with Client(settings.load().url, lambda: "") as client:
        note = published(client, shard, "witnessed" if witnessed else "checkpoint")
        if trusted is not None:
            note = satisfying(client, shard, trusted, note)
    content = bytes(note)
    said = parse_checkpoint(note.text) if trusted is None else trusted.checkpoint(note)
    cosigned = claimed(note) if trusted is None else trusted.cosigned(note)
    who = {name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in cosigned.items()}
    if output is Output.TABLE:
        sys.stdout.write(content.decode())
        say("\n".join(f"cosigned by {name}, {at}" for name, at in who.items()) or "cosigned by nobody yet")
        return
    told = {
        "origin": said.origin,
        "size": said.size,
        "root": said.root.hex(),
        "note": content.decode(),
        "cosigned": who,
    }
    emit(output, told, lambda width: record([]))


def vkey(
    retired: Annotated[
        bool, typer.Option("--retired", help="Those too that were exchanged, marked: for proofs from before alone.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the verifier keys that sign now, one for each year's log, as the signer has them: publish them.

    On paper too. A key that was exchanged may be in a thief's hands: never give one to a witness.
    """
    from diwan import settings

    said = asyncio.run(_keys(settings.load()))
    if output is Output.JSON:
        emit(output, {"keys": list(said.keys), "retired": list(said.retired)}, lambda width: record([]))
        return
    before = [f"{key} retired\n" for key in said.retired] if retired else []
    sys.stdout.write("".join([*before, *(f"{key}\n" for key in said.keys)]))


def published(client: Client, shard: str, which: str) -> Note:
    """Of the log of a year, or of the newest: `checkpoint` or `witnessed`, by the service's public addresses."""
    from diwan.cli.client import segment
    from diwan.ledger.note import parse_note

    return parse_note(client.download(f"/ledger/{segment(shard)}/{which}" if shard else f"/ledger/{which}"))


def satisfying(client: Client, shard: str, policy: Policy, newest: Note) -> Note:
    """The newest checkpoint where witnesses enough have cosigned it by now, else the one that most have.

    The log grows twice a second and witnesses are asked every other one: the newest seldom has their lines.
    Raises `Tampered` where a signature is wrong, `Retry` (`ledger.not_witnessed`) where witnesses are still missing.
    """
    policy.signed(newest)
    if policy.agreed(newest):
        return newest
    found = published(client, shard, "witnessed")
    policy.signed(found)
    if policy.agreed(found):
        return found
    raise Retry(
        "ledger.not_witnessed",
        f"No checkpoint of the last hour satisfies your policy yet: {policy.quorum} did not cosign.",
        "Try again in some seconds; if it stays so, see that the policy has the witnesses' own keys, and ask them. "
        "What a witness without a network cosigned is in the file that it gave (docs/witnesses.md).",
    )


def checkpoint_of(path: Path, policy: Policy | None) -> Checkpoint:
    """A checkpoint that somebody kept in a file, signed as the policy says where there is one."""
    from diwan.ledger.checkpoint import parse_checkpoint
    from diwan.ledger.note import parse_note

    note = parse_note(bytes_of(path))
    return parse_checkpoint(note.text) if policy is None else policy.checkpoint(note)


def policy_of(path: Path) -> Policy:
    """Raises `InvalidInput` that names the line."""
    from diwan.ledger.policy import parse_policy

    return parse_policy(bytes_of(path))


def bytes_of(path: Path) -> bytes:
    """Raises `InvalidInput` that says why there are none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput("file.unreadable", f"{path}: {error.strerror}.", "Check the path.") from None


def readable(*paths: Path) -> None:
    """Raises `InvalidInput`, as `bytes_of`, for what cannot be opened: a mistyped path says nothing of a file."""
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            raise InvalidInput("file.unreadable", f"{path}: {error.strerror}.", "Check the path.") from None


def write(path: Path, content: bytes) -> None:
    """Raises `InvalidInput` that says why it cannot be written."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInput("file.unwritable", f"{path}: {error.strerror}.", "Name another file, try again.") from None


async def _keys(chosen: Settings) -> KeysAnswer:
    from diwan.cli.connections import signer_client

    client = signer_client(chosen)
    try:
        return await client.keys()
    finally:
        await client.aclose()


async def _proof(chosen: Settings, tenant: str, case: str, seq: int, policy: Policy | None) -> EntryProof:
    from diwan.cli.connections import database
    from diwan.store.ledger_proofs import prove_entry

    db = database(chosen, "auditor")
    try:
        async with db.transaction(tenant, snapshot=True) as conn:
            return await prove_entry(conn, tenant, case, seq, policy=policy)
    finally:
        await db.dispose()


def _told(proof: EntryProof) -> Json:
    return {
        "index": proof.index,
        "hashes": [each.hex() for each in proof.hashes],
        "checkpoint": bytes(proof.checkpoint).decode(),
        "header": proof.extra.decode(),
        "proof": base64.b64encode(bytes(proof)).decode(),
    }
