"""`diwan tenant export` and `check`: all of a ministry as files that are read without Diwan (docs/export.md)."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import hmac
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diwan.cli.credentials import PurposeOption
from diwan.cli.ledger_proofs import PolicyOption
from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.errors import InvalidInput, NotFound, Tampered
from diwan.domain.text import Language
from diwan.export_folder import SUMS

if TYPE_CHECKING:
    from diwan.domain.ports import Cipher
    from diwan.exporting import Exported
    from diwan.settings import Settings
    from diwan.store.bundles import CaseFile

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def export(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The ministry.")],
    to: Annotated[Path, typer.Option("--to", "-o", metavar="FOLDER", help="Where it goes; must not be there yet.")],
    language: Annotated[Language, typer.Option("--language", help="Of the bundles' stories.")] = Language.EN,
    purpose: PurposeOption = "export",
    output: OutputOption = Output.TABLE,
) -> None:
    """Write all that Diwan keeps of a ministry, in clear, as files that are read and checked without Diwan.

    Needs DIWAN_DATABASE_URL_AUDITOR and the vault's token of an auditor to read, and DIWAN_DATABASE_URL_OWNER to put
    the export on the ledger. Exits with 1 where something could not be opened that is not erased.
    """
    from diwan import settings

    told = asyncio.run(_export(settings.load(), tenant, to, language, purpose))
    data = {
        **{"folder": str(told.folder), "digest": told.digest, "files": told.files, "cases": told.cases},
        **{"rows": sum(told.rows.values()), "no_bundle": dict(told.no_bundle), "unopened": dict(told.unopened)},
    }
    emit(output, data, lambda width: record([(name.replace("_", " "), value) for name, value in data.items()]))
    if told.no_bundle:
        say(f"{sum(told.no_bundle.values())} cases have no bundle; their entries are in tables/entry.jsonl.")
    if any(count for why, count in told.unopened.items() if why != "erased"):
        say("Not everything that is sealed could be opened: look for _sealed in tables/.")
        raise typer.Exit(1)


async def _export(chosen: Settings, tenant: str, to: Path, language: Language, purpose: str) -> Exported:
    from datetime import UTC, datetime

    from diwan.cli.connections import database
    from diwan.cli.ledger import keys_of
    from diwan.domain.actor import Actor, ActorKind
    from diwan.exporting import Export
    from diwan.web.api.bundles import packed

    operator = Actor(kind=ActorKind.PERSON, subject=getpass.getuser(), tenant=tenant, authentication="operating system")
    keys = keys_of(chosen)
    if keys is None:
        raise InvalidInput("export.no_keys", "Without the vault nothing is in clear.", "Set DIWAN_VAULT_TOKEN_FILE.")

    def pack(file: CaseFile, cipher: Cipher, told: dict[str, str]) -> bytes:
        return packed(file, cipher, told, {}, language)

    reads, writes = database(chosen, "auditor"), database(chosen, "owner")
    try:
        made = Export(reads, writes, keys, operator, lambda: datetime.now(UTC), pack, language.value, purpose)
        return await made.to(to)
    finally:
        await keys.aclose()
        await reads.dispose()
        await writes.dispose()


def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="As `diwan tenant export` made it.")],
    policy: PolicyOption,
    digest: Annotated[
        str, typer.Option("--digest", metavar="HEX", help="Of SHA256SUMS, as it stands on the ledger.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Check an export with nothing but its files and your policy: each file's SHA-256, and each bundle.

    Exits with 1 where it does not hold, and says why.
    """
    from diwan.standalone.verify_bundle import Failed, verify

    files = check_files(folder, digest)
    bundles = [name for name in files if name.startswith("cases/") and name.endswith("/bundle.zip")]
    for name in bundles:
        try:
            verify(folder / name, policy)
        except Failed as failed:
            say(f"{name} does not hold: {failed} ({failed.code})")
            raise typer.Exit(1) from None
    data = {"holds": True, "files": len(files), "bundles": len(bundles)}
    emit(output, data, lambda width: record(list(data.items())))


def check_files(folder: Path, digest: str = "") -> list[str]:
    """The files that SHA256SUMS names: all that are there, as they were. Raises `NotFound`, `Tampered`."""
    try:
        listed = (folder / SUMS).read_bytes()
    except OSError:
        raise NotFound("export.unknown", f"{folder} is no export: it has no {SUMS}.", "Check the path.") from None
    if digest and not hmac.compare_digest(hashlib.sha256(listed).hexdigest(), digest.lower()):
        raise Tampered("export.digest_differs", f"{SUMS} is not the one that is on the ledger.")
    said = dict(_said(listed))
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    for name in sorted(there ^ (said.keys() | {SUMS})):
        raise Tampered("export.files_differ", f"{name} is missing, or not of this export.")
    for name, expected in said.items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or _digest(path) != expected:
            raise Tampered("export.file_differs", f"{name} is not what was exported.")
    return sorted(said)


def _said(listed: bytes) -> Iterator[tuple[str, str]]:
    for line in listed.decode(errors="replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise Tampered("export.sums_malformed", f"{SUMS} has a line that is none of its form.")
        yield found[2], found[1]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
