"""`diwan vault`: serves the keys of cases; beside it what an operator does with its files on its own machine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diwan.cli import running
from diwan.cli.lazy import command_group
from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.errors import InvalidInput, NeedsPerson

if TYPE_CHECKING:
    from diwan.settings import Settings
    from diwan.vault.journal import Destruction
    from diwan.vault.setup import VaultFiles


def register(app: typer.Typer) -> None:
    group = command_group("Serve the keys of cases, on a unix socket or a loopback port.")
    group.callback(invoke_without_command=True, no_args_is_help=False)(vault)
    for command in (backup, restore, replay, rotate, retire, status):
        group.command(command.__name__)(command)
    app.add_typer(group, name="vault")


def vault(
    context: typer.Context,
    init: Annotated[
        bool, typer.Option("--init", help="Make key, database and a token for each caller, then end.")
    ] = False,
) -> None:
    """Serve the keys of cases, on a unix socket or a loopback port.

    --init makes what is missing in DIWAN_VAULT_DIR: vault.sqlite, callers.json, tokens/ (one file for each process)
    and the key file, to be backed up apart from all else, or the key in the token where DIWAN_VAULT_PKCS11_MODULE is
    set. To a vault of an earlier version it adds what is new.
    """
    if context.invoked_subcommand is not None:
        return
    from diwan.vault.listen import serve
    from diwan.vault.setup import where_key_is

    settings = running.begin("vault")
    files = _files(settings)
    if init:
        _make(files)
        return
    made = [path for path in (files.key, files.database, files.callers) if isinstance(path, Path) and path.exists()]
    if not made:
        raise NeedsPerson(
            "vault.not_made",
            f"There is no vault in {files.database.parent} ({where_key_is(files)}).",
            "Make one, once, with `diwan vault --init`, or set DIWAN_VAULT_DIR.",
        )
    serve(files, settings.text("vault_address"))


def backup(
    file: Annotated[Path, typer.Option("-o", "--to", help="The new file.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Copy the vault's database while it serves. The copy opens nothing without the key, and is no journal."""
    from diwan.vault import copies

    files = _files(running.begin("vault"))
    copies.backup(files.database, file, now=datetime.now(UTC))
    say(f"keep it apart from the key, and {files.journal} apart from both, always the newest")
    _tell({"copy": str(file), "journal": str(files.journal)}, output)


def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `diwan vault backup` made.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a copy in the database's place, and destroy what was destroyed since. The vault must not run."""
    import contextlib

    from diwan.vault import copies, setup

    files = _files(running.begin("vault"))
    kept = copies.restore(files.database, file, now=datetime.now(UTC))
    with contextlib.closing(setup.open_store(files)):
        say(f"what {files.journal} has is destroyed in it")
    if kept:
        say(f"the database before is {kept}: it has keys of newer cases, and no destruction reaches it;")
        say("remove it, and what belongs to it, as soon as this one serves: `diwan vault status` names them")
    _tell({"database": str(files.database), "from": str(file), "before": str(kept) if kept else None}, output)


def replay(
    file: Annotated[
        Path, typer.Argument(help="Destroyed keys, a line of JSON each: tenant, scope, classes, order, at.")
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Destroy what a list from the ledger says was destroyed. Where the journal is lost this begins a new one.

    The vault must not run. What is destroyed already stays as it is.
    """
    import contextlib

    from diwan.vault import alone, setup

    files = _files(running.begin("vault"))
    listed = _listed(file)
    with alone.serving(files.database):
        try:
            store = setup.open_store(files)
        except NeedsPerson as error:
            if not error.code.startswith("vault.journal_"):
                raise
            say(f"{error.message} It is begun anew.")
            store = setup.open_store(files, journal_anew=True)
        with contextlib.closing(store):
            store.destroy_all(listed)
    _tell({"lines": len(listed), "journal": str(files.journal)}, output)


def rotate(output: OutputOption = Output.TABLE) -> None:
    """Make a new key that wraps the cases' keys, and wrap all anew under it; the vault may serve meanwhile.

    A rotation that has not ended is ended first, and no key added then. Back the key file up at once; then retire the
    key before.
    """
    from diwan.vault import rotation, setup

    files = _files(running.begin("vault"))
    keks = setup.open_keys(files)
    now = datetime.now(UTC)
    done = rotation.rotate(files.database, keks, now=now, say=lambda done: say(f"{done} keys wrapped anew"))
    left = sorted(keks.names() - {done.current})
    say(f"{setup.where_key_is(files)} is to be backed up now")
    for name in left:
        say(f"`diwan vault retire {name}` makes backups of the database from before useless, for good")
    if not done.log_emptied:
        say("all is wrapped anew, but something reads the database, whose log has keys as they were wrapped before:")
        say("`diwan vault rotate` again empties it, and adds no key")
    _tell({"current": done.current, "wraps_nothing": left, "log_emptied": done.log_emptied}, output)


def retire(
    name: Annotated[str, typer.Argument(help="A key that wraps nothing any more.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Destroy a key that an earlier rotation left: no backup of the database from before opens any more."""
    from diwan.vault import rotation, setup

    files = _files(running.begin("vault"))
    rotation.retire(files.database, setup.open_keys(files), name, now=datetime.now(UTC))
    say("destroy its backups too, and make a new one of the database")
    _say_left(files)
    _tell({"retired": name}, output)


def status(output: OutputOption = Output.TABLE) -> None:
    """Say which key wraps how many, how many are destroyed, when it was backed up, which copies are to be removed."""
    from diwan.vault import rotation, setup

    files = _files(running.begin("vault"))
    found = rotation.status(files.database, setup.open_keys(files))
    data: dict[str, object] = {
        "key": setup.where_key_is(files),
        "current": found.current,
        "wraps": dict(found.wrapped),
        "retired": list(found.retired),
        "destroyed": found.destroyed,
        "backed_up_at": found.backed_up_at.isoformat() if found.backed_up_at else None,
        "rotating_to": found.rotating_to,
        "left_behind": [str(path) for path in setup.left_behind(files)],
    }
    _say_left(files)
    _tell(data, output)


def _say_left(files: VaultFiles) -> None:
    from diwan.vault.setup import left_behind

    for path in left_behind(files):
        say(f"{path} may hold keys that are destroyed since: remove it")


def _tell(data: dict[str, object], output: Output) -> None:
    emit(output, data, lambda _: record(list(data.items())))


def _files(settings: Settings) -> VaultFiles:
    from diwan.vault.hsm import TokenPlace
    from diwan.vault.setup import VaultFiles

    key: Path | TokenPlace | None = settings.vault_key
    if settings.vault_pkcs11_module is not None:
        pin = settings.secret("vault_pkcs11_pin")
        key = TokenPlace(settings.vault_pkcs11_module, settings.vault_pkcs11_token, pin)
    return VaultFiles.in_folder(settings.vault_dir or settings.home / "vault", key, settings.vault_journal)


def _make(files: VaultFiles) -> None:
    from diwan.vault.callers import Caller
    from diwan.vault.setup import add_callers, initialise, is_initialised, where_key_is

    tokens = files.database.parent / "tokens"
    own = [files.key.parent] if isinstance(files.key, Path) else []
    for folder in (files.database.parent, files.journal.parent, tokens, *own):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    of_caller = {caller: tokens / caller.value for caller in Caller}
    if is_initialised(files) and files.callers.exists() and (added := add_callers(files, of_caller)):
        say(f"added to {tokens}: {', '.join(sorted(added))}; start the vault again")
        return
    initialise(files, of_caller)
    say(f"made {where_key_is(files)}, {files.database}, {files.callers} and {tokens}")


def _listed(file: Path) -> list[Destruction]:
    from pydantic import ValidationError

    from diwan.vault.journal import Destruction

    now = datetime.now(UTC).isoformat()
    found: list[Destruction] = []
    number = 0
    try:
        with file.open("rb") as lines:
            for line in lines:
                number += 1
                if line.strip() and not line.startswith(b'{"format"'):
                    found.append(Destruction.model_validate_json(json.dumps({"at": now} | json.loads(line))))
    except OSError as error:
        raise InvalidInput("vault.list_unreadable", f"{file}: {error.strerror}.", "Check the path.") from None
    except (ValidationError, ValueError, TypeError):
        raise InvalidInput(
            "vault.list_malformed",
            f"{file}: line {number} is no destroyed key.",
            "A line is JSON: tenant, scope, classes, order (the entry's hash) and, if known, at.",
        ) from None
    return found
