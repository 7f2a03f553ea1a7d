"""`diwan tenant apply`: sets up a ministry from a file, as the database's owner; the rest is in tenant_export.py."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diwan.cli import tenant_export
from diwan.cli.lazy import command_group
from diwan.cli.output import Output, OutputOption, emit, record
from diwan.domain.errors import InvalidInput

if TYPE_CHECKING:
    from diwan.domain.tenant import Ministry
    from diwan.settings import Settings


def register(app: typer.Typer) -> None:
    group = command_group("Set up ministries, and take all that is kept of one along.")
    group.callback()(_about)
    group.command("apply")(apply)
    group.command("export")(tenant_export.export)
    group.command("check")(tenant_export.check)
    app.add_typer(group, name="tenant")


def _about() -> None:
    """Set up ministries, and take all that is kept of one along."""


def apply(
    file: Annotated[Path, typer.Argument(help="YAML file of a ministry (docs/operations.md).", metavar="FILE")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a ministry what FILE says: its settings, who sends, who signs, where its events go.

    Needs DIWAN_DATABASE_URL_OWNER (a running embedded stack gives it). What FILE no longer names stays as it was.
    """
    from diwan import settings

    ministry = _read(file)
    changed = asyncio.run(_apply(settings.load(), ministry))
    data = {"tenant": ministry.tenant, "changed": changed}
    emit(output, data, lambda width: record(list(data.items())))


def _read(file: Path) -> Ministry:
    import yaml
    from pydantic import ValidationError

    from diwan.domain.tenant import Ministry

    try:
        return Ministry.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInput("cli.unreadable", f"{file}: {error.strerror}.", "Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InvalidInput("tenant.not_yaml", f"{file} is not YAML.", "See docs/operations.md for one.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput("tenant.invalid", f"{file}: {place}: {first['msg']}.", "Correct the file.") from None


async def _apply(chosen: Settings, ministry: Ministry) -> bool:
    from datetime import UTC, datetime

    from diwan.cli.connections import database
    from diwan.domain.actor import Actor, ActorKind
    from diwan.store.ministries import apply_ministry

    operator = Actor(
        kind=ActorKind.PERSON, subject=getpass.getuser(), tenant=ministry.tenant, authentication="operating system"
    )
    db = database(chosen, "owner")
    try:
        async with db.transaction(ministry.tenant) as conn:
            return await apply_ministry(conn, ministry, operator, now=datetime.now(UTC))
    finally:
        await db.dispose()
