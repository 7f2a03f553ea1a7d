"""The journal of destructions: a file beside the database and apart from its backups, which only grows.

A restored database is older than the keys that were destroyed since. Each destruction is written and synced here
before it is done there, and a vault does, before it answers anybody, what its journal has and its database lacks.
One line of JSON each; its `mac` (HMAC-SHA-256 under a key of the vault's own) is over the line and the mac before it,
so that nobody else can order a destruction, or take one out of the middle.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Collection, Generator, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from diwan.domain.errors import NeedsPerson, NotFound
from diwan.domain.ports import RetentionClass
from diwan.vault import secretfile
from diwan.vault.protocol import Digest, Name

_HEADER = b'{"format":"diwan-destroyed-1"}\n'
_LONGEST = 4096
_REMEDY = (
    "Put the newest copy of the journal back. If there is none, `diwan vault replay FILE` with the list of destroyed"
    " keys from the ledger begins a new one."
)

log = structlog.get_logger()


class Destruction(BaseModel):
    """Keys of a scope that are destroyed by order of a ledger entry, and when that was."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    tenant: Name
    scope: Name
    classes: tuple[RetentionClass, ...]
    order: Digest
    at: AwareDatetime

    @classmethod
    def of(cls, tenant: str, scope: str, classes: Collection[RetentionClass], order: str, at: datetime) -> Destruction:
        """With the classes in their own order, each once."""
        kept = tuple(each for each in RetentionClass if each in classes)
        return cls(tenant=tenant, scope=scope, classes=kept, order=order, at=at)


class Place(NamedTuple):
    """How far a journal was followed: so many bytes, and the mac of the last line in them."""

    at: int
    mac: str


START = Place(len(_HEADER), "")


class Journal:
    """`followed` and `append` are to be called while it is `locked`."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key

    @contextlib.contextmanager
    def locked(self) -> Generator[BinaryIO]:
        """The file, ours alone meanwhile. Raises `NeedsPerson` when it is missing, exposed or no journal."""
        try:
            secretfile.check_private(self._path)
        except NotFound:
            raise NeedsPerson("vault.journal_missing", f"The journal {self._path} does not exist.", _REMEDY) from None
        with secretfile.explained(self._path), self._path.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.read(len(_HEADER)) != _HEADER:
                raise NeedsPerson("vault.journal_malformed", f"{self._path} is no journal of destructions.", _REMEDY)
            yield file

    def followed(self, file: BinaryIO, place: Place) -> Iterator[tuple[Destruction, Place]]:
        """Each destruction after `place`, and the place after it. Half a line at the end was never answered: it goes.

        Raises `NeedsPerson` where the journal is older than `place` or another, or was changed.
        """
        if place.at > START.at and _mac_before(file, place.at) != place.mac:
            raise NeedsPerson(
                "vault.journal_older",
                f"{self._path} is not the journal that the database has followed, or an older copy of it.",
                _REMEDY,
            )
        file.seek(place.at)
        rest = file.read()
        *lines, torn = rest.split(b"\n")
        if torn:
            log.warning("vault.journal.torn", bytes=len(torn))
            file.truncate(place.at + len(rest) - len(torn))
            os.fsync(file.fileno())
        for line in lines:
            place = Place(place.at + len(line) + 1, self._checked(line, place))
            yield Destruction.model_validate_json(line), place

    def append(self, file: BinaryIO, place: Place, destructions: Iterable[Destruction]) -> None:
        """Write and sync, after the end at `place`."""
        file.seek(place.at)
        file.truncate()
        content = self._lines(destructions, place.mac)
        while content:
            content = content[file.write(content) or 0 :]
        os.fsync(file.fileno())

    def write_anew(self, destructions: Iterable[Destruction]) -> None:
        """Make the file, with these in it. Raises `Conflict` when it exists."""
        secretfile.create(self._path, _HEADER + self._lines(destructions, START.mac))

    def _lines(self, destructions: Iterable[Destruction], mac: str) -> bytes:
        lines: list[bytes] = []
        for each in destructions:
            said = each.model_dump(mode="json")
            mac = self._mac(said, mac)
            lines.append(_canonical({**said, "mac": mac}) + b"\n")
        return b"".join(lines)

    def _checked(self, line: bytes, place: Place) -> str:
        """The line's mac. Raises `NeedsPerson` when the line is not as this vault wrote it after `place`."""
        mac = ""
        try:
            said = json.loads(line)
            mac = said.pop("mac")
            right = hmac.compare_digest(mac, self._mac(said, place.mac)) and Destruction.model_validate(said)
        except (ValidationError, ValueError, TypeError, KeyError, AttributeError):
            right = False
        if not right:
            raise NeedsPerson(
                "vault.journal_changed",
                f"{self._path} was changed at byte {place.at}: the vault did not write it.",
                _REMEDY,
            )
        return mac

    def _mac(self, said: object, before: str) -> str:
        return hmac.new(self._key, before.encode() + b"\n" + _canonical(said), hashlib.sha256).hexdigest()


def create(path: Path) -> None:
    """An empty journal; one that is there and empty serves. Raises `NeedsPerson` where it has lines."""
    if not path.exists():
        secretfile.create(path, _HEADER)
    elif path.stat().st_size > len(_HEADER):
        raise NeedsPerson(
            "vault.journal_of_another",
            f"The database has no journal yet, but {path} has destructions in it.",
            _REMEDY,
        )


def _mac_before(file: BinaryIO, at: int) -> str | None:
    begin = max(0, at - _LONGEST)
    file.seek(begin)
    read = file.read(at - begin)
    if len(read) < at - begin or not read.endswith(b"\n"):
        return None
    try:
        return str(json.loads(read[:-1].rpartition(b"\n")[2])["mac"])
    except (ValueError, TypeError, KeyError):
        return None


def _canonical(said: object) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
