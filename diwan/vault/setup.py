"""The vault's files, and their first making."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diwan.domain.errors import Conflict
from diwan.vault import callers, database, keyfile, secretfile
from diwan.vault.callers import Caller, TokenHashes
from diwan.vault.hsm import TokenKeys, TokenPlace
from diwan.vault.keks import KeyEncryptionKeys
from diwan.vault.keystore import JOURNAL, KeyStore


@dataclass(frozen=True)
class VaultFiles:
    """`key` is backed up apart from `database`: either alone opens nothing. `callers` holds digests of tokens.

    `key` is a file, or a token that keeps the key-encryption keys itself. `journal` has what was destroyed; it is no
    part of the database's backups.
    """

    key: Path | TokenPlace
    database: Path
    callers: Path
    journal: Path

    @classmethod
    def in_folder(cls, folder: Path, key: Path | TokenPlace | None = None, journal: Path | None = None) -> VaultFiles:
        """The usual names in a folder; key and journal elsewhere where they are given."""
        return cls(
            key=key or folder / "kek.json",
            database=folder / "vault.sqlite",
            callers=folder / "callers.json",
            journal=journal or folder / JOURNAL,
        )


def is_initialised(files: VaultFiles) -> bool:
    """True once `initialise` finished: the key is made last. Raises `NeedsPerson` where a token cannot be asked."""
    if isinstance(files.key, TokenPlace):
        return bool(TokenKeys(files.key).names())
    return files.key.exists()


def open_keys(files: VaultFiles) -> KeyEncryptionKeys:
    """The key-encryption keys. Raises `NeedsPerson` when they cannot be had."""
    return TokenKeys(files.key) if isinstance(files.key, TokenPlace) else keyfile.load(files.key)


def where_key_is(files: VaultFiles) -> str:
    """For people."""
    return f"a key in the token {files.key.label}" if isinstance(files.key, TokenPlace) else str(files.key)


def left_behind(files: VaultFiles) -> list[Path]:
    """Copies beside the database and the key file that no destruction and no retirement reaches.

    What `restore` put aside, what a process that was killed left half-way, a backup in the same folder.
    """
    places = [files.database, *([files.key] if isinstance(files.key, Path) else [])]
    return sorted(
        each
        for place in places
        if place.parent.is_dir()
        for each in place.parent.iterdir()
        if each.name.lstrip(".").startswith(f"{place.name}.")
    )


def initialise(files: VaultFiles, tokens: Mapping[Caller, Path]) -> None:
    """Make an empty database, a token file for each caller and the key file, in folders that exist.

    Can be repeated after a crash half-way. Raises `Conflict` when the vault was initialised before, or when its
    database has keys already: a new key file could never open them.
    """
    if is_initialised(files):
        raise Conflict(
            "vault.initialised_before", f"There is {where_key_is(files)} already.", "Start the vault with it."
        )
    if not files.database.exists():
        database.create(files.database)
    _refuse_keys_of_another(files)
    _make_tokens(tokens)
    if not files.callers.exists():
        hashes = {caller: callers.hash_of(callers.read_token(path)) for caller, path in tokens.items()}
        callers.write_hashes(files.callers, hashes)
    if isinstance(files.key, TokenPlace):
        TokenKeys(files.key).add()
    else:
        keyfile.create(files.key)


def add_callers(files: VaultFiles, tokens: Mapping[Caller, Path]) -> frozenset[Caller]:
    """Make a token for each caller that the vault knows none of, and say which: roles that a later version brought.

    A running vault learns of them when it is started again.
    """
    hashes = callers.load_hashes(files.callers)
    new = {caller: path for caller, path in tokens.items() if caller not in hashes}
    if new:
        _make_tokens(new)
        made = {caller: callers.hash_of(callers.read_token(path)) for caller, path in new.items()}
        callers.replace_hashes(files.callers, {**hashes, **made})
    return frozenset(new)


def _make_tokens(tokens: Mapping[Caller, Path]) -> None:
    for path in tokens.values():
        if not path.exists():
            secretfile.create(path, callers.new_token().encode() + b"\n")


def open_vault(files: VaultFiles) -> tuple[KeyStore, TokenHashes]:
    """What the server needs. Raises `NeedsPerson` with a remedy when a file is missing, exposed or damaged."""
    hashes = callers.load_hashes(files.callers)
    return open_store(files), hashes


def open_store(files: VaultFiles, *, journal_anew: bool = False) -> KeyStore:
    """The keys of cases, once all is destroyed that the journal has. Raises as `KeyStore.open` does."""
    return KeyStore.open(files.database, open_keys(files), journal=files.journal, anew=journal_anew)


def _refuse_keys_of_another(files: VaultFiles) -> None:
    if not KeyStore.is_unused(files.database):
        raise Conflict(
            "vault.key_file_lost",
            f"{files.database} holds keys, but their own key is missing: there is no {where_key_is(files)}.",
            "Restore it from its own backup; a new one cannot open what is there.",
        )
