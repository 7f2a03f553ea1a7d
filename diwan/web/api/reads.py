"""An auditor's reads are on the ledger: who read what, for what purpose, on a chain of the reader's own.

A route that an auditor may call calls `record` in the transaction of its read: the entry is committed, or nothing is
given out (docs/adr/0026-reads-on-the-ledger.md). Of others nothing is written
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

from diwan.domain.actor import Actor, Role
from diwan.ledger.entry import Scalar
from diwan.store.connection import Connection
from diwan.store.entries import append_entry
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
    return f"reads/{subject}"


@dataclass(frozen=True, slots=True)
class Reads:
    """`purpose` is what the caller says that it reads for."""

    deps: Dependencies
    purpose: str

    async def record(self, conn: Connection, actor: Actor, kind: str, **detail: Scalar) -> None:
        """The entry of a read, in the transaction `conn`. Whoever holds the auditor's role reads as an auditor."""
        if not actor.has(Role.AUDITOR):
            return
        now, _ = await self.deps.watch.read(conn, actor.tenant)
        chain = reads_chain(actor.subject)
        await append_entry(conn, actor.tenant, chain, kind, actor, now=now, purpose=self.purpose, detail=detail)

    async def record_apart(self, actor: Actor, kind: str, **detail: Scalar) -> None:
        """As `record`, before what was read in a snapshot, where nothing is written, is given out."""
        if actor.has(Role.AUDITOR):
            async with self.deps.db.transaction(actor.tenant) as conn:
                await self.record(conn, actor, kind, **detail)


async def _reads(deps: Deps, purpose: Purpose = "audit") -> Reads:
    return Reads(deps, purpose)


Reading = Annotated[Reads, Depends(_reads)]
