"""Published procedures as stored against their hashes, and against the entries that published them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, text

from diwan.ledger.verify import BadEntry, StoredEntry
from diwan.procedures.load import hash_of
from diwan.store.connection import Connection
from diwan.store.procedures import PUBLISHED

Told = tuple[str, str, datetime, str]


class ProcedureCheck:
    """Is shown every entry of a tenant, then compares what is stored. Of the entries it keeps few."""

    def __init__(self) -> None:
        self._published: dict[str, tuple[StoredEntry, Told]] = {}
        self._under: dict[str, StoredEntry] = {}
        self.count = 0

    def entry(self, entry: StoredEntry) -> None:
        said = orjson.loads(entry.header)
        digest = str(said.get("procedure_hash") or "")
        if entry.kind == PUBLISHED:
            detail = said.get("detail", {})
            told = (str(detail.get("name")), str(detail.get("version")), entry.at, str(said["actor"]["subject"]))
            self._published.setdefault(digest, (entry, told))
        elif digest:
            self._under.setdefault(digest, entry)

    async def end(self, conn: Connection, tenant: str) -> BadEntry | None:
        """The first version, or entry under one, that is not as it was published."""
        there: set[str] = set()
        for row in await conn.execute(_VERSIONS, {"tenant": tenant}):
            there.add(row.hash)
            self.count += 1
            if (bad := self._version(tenant, row)) is not None:
                return bad
        for digest, (entry, told) in self._published.items():
            if digest not in there:
                return _bad(entry, "procedure.row_missing", f"version {told[1]} of {told[0]} is gone")
        for digest, entry in self._under.items():
            if digest not in self._published:
                return _bad(
                    entry, "procedure.unpublished", f"it is under a procedure that no entry published: {digest}"
                )
        return None

    def _version(self, tenant: str, row: Row[Any]) -> BadEntry | None:
        version = f"version {row.version} of {row.name}"
        if row.hash not in self._published:
            why = f"no entry published {version}, of hash {row.hash}"
            return BadEntry(tenant, f"procedures/{row.name}", 0, "procedure.entry_missing", why)
        entry, told = self._published[row.hash]
        if hash_of(row.body) != row.hash:
            return _bad(entry, "procedure.text_differs", f"the stored text of {version} is not the one of its hash")
        if (row.name, row.version, row.published_at, row.published_by) != told:
            return _bad(
                entry, "procedure.row_differs", f"{version} was published under another name, by another, or then"
            )
        return None


def _bad(entry: StoredEntry, reason: str, why: str) -> BadEntry:
    return BadEntry(entry.tenant, entry.chain, entry.seq, reason, why)


_VERSIONS = text(
    "SELECT name, version, hash, body, published_at, published_by FROM procedure_version WHERE tenant = :tenant "
    "ORDER BY name, published_at"
)
