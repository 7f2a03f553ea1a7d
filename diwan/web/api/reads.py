"""An auditor's reads are on the ledger: who read what, for what purpose, on a chain of the reader's own.

A route that an auditor may call calls `record` in the transaction of its read: the entry is committed, or nothing is
given out (docs/adr/0026-reads-on-the-ledger.md). Of others nothing is written
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header
from pydantic import JsonValue

from diwan.domain.actor import Actor, Role
from diwan.domain.ports import Cipher
from diwan.ledger.entry import Scalar
from diwan.store.connection import Connection
from diwan.store.entries import EntryFields, append_entry, subject_chain
from diwan.store.scope_erasures import searches_scope
from diwan.web.dependencies import Dependencies, Deps

CASE = "audit:case:read"
DOCUMENT = "audit:document:read"
LETTER = "audit:letter:read"
TASK = "audit:task:read"
LIST = "audit:list:read"
ENTRIES = "audit:entries:read"
SEARCH = "audit:entries:searched"

Purpose = Annotated[
    str,
    Header(
        alias="Diwan-Purpose",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$",
        max_length=80,
        description="what an auditor reads for, as a word or a file's number: it is put on the ledger with the read. "
        "No personal data",
    ),
]


def reads_chain(subject: str) -> str:
    """The chain of what one auditor read."""
    return subject_chain("reads", subject)


@dataclass(frozen=True, slots=True)
class MonthsKeys:
    """No case's: whom somebody searched for is of no case (docs/erasure.md). The entry's header names the scope."""

    scope: str
    cipher: Cipher


@dataclass(frozen=True, slots=True)
class SealedSaying:
    """What an entry of a read commits to, and a header may not hold."""

    said: Mapping[str, JsonValue]
    keys: MonthsKeys


@dataclass(frozen=True, slots=True)
class Reads:
    """`purpose` is what the caller says that it reads for."""

    deps: Dependencies
    purpose: str

    async def record(self, conn: Connection, actor: Actor, kind: str, **detail: Scalar) -> None:
        """The entry of a read, in the transaction `conn`. Whoever holds the auditor's role reads as an auditor."""
        await self.record_sealed(conn, actor, kind, detail, None)

    async def record_sealed(
        self, conn: Connection, actor: Actor, kind: str, detail: Mapping[str, Scalar], sealed: SealedSaying | None
    ) -> None:
        """As `record`, and the entry commits to what is sealed beside it."""
        if not actor.has(Role.AUDITOR):
            return
        now, _ = await self.deps.watch.read(conn, actor.tenant)
        said: EntryFields = {"purpose": self.purpose, "detail": detail}
        if sealed is not None:
            said |= {"body": sealed.said, "cipher": sealed.keys.cipher}
            said["detail"] = {**detail, "keys": sealed.keys.scope}
        await append_entry(conn, actor.tenant, reads_chain(actor.subject), kind, actor, now=now, **said)

    async def keys(self, tenant: str) -> MonthsKeys:
        """Those of this month for what searches seal. Asks the vault: not while anything is locked."""
        scope = searches_scope(self.deps.clock().date())
        return MonthsKeys(scope, await self.deps.cipher(tenant, scope))

    async def record_apart(self, actor: Actor, kind: str, **detail: Scalar) -> None:
        """As `record`, before what was read in a snapshot, where nothing is written, is given out."""
        if actor.has(Role.AUDITOR):
            async with self.deps.db.transaction(actor.tenant) as conn:
                await self.record(conn, actor, kind, **detail)


async def _reads(deps: Deps, purpose: Purpose = "audit") -> Reads:
    return Reads(deps, purpose)


Reading = Annotated[Reads, Depends(_reads)]
