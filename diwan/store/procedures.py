"""Published procedures: versions of a file, kept as published, found by name or by hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, insert, select

from diwan.domain.actor import Actor
from diwan.domain.errors import Conflict, NotFound, Tampered
from diwan.procedures.lint import refuse_unpublishable
from diwan.procedures.load import hash_of, load_procedure
from diwan.procedures.schema import Procedure
from diwan.store.connection import Connection
from diwan.store.entries import append_entry
from diwan.store.tables import procedure_version


@dataclass(frozen=True, slots=True)
class Published:
    """A version as published: `body` is the YAML, `hash` its SHA-256 (hex)."""

    name: str
    version: str
    hash: str
    body: str
    published_at: datetime
    published_by: str

    @property
    def text(self) -> str:
        """The body where it is the one that was published. Raises `Tampered`; each is looked at once a process."""
        return _as_published(self.hash, self.body)

    @property
    def procedure(self) -> Procedure:
        """The file read; each is read once a process. Raises `Tampered` where it is not the one that was published."""
        return _read(self.hash, self.body)


PUBLISHED = "procedure:version:published"


@lru_cache(maxsize=64)
def _as_published(hash_: str, body: str) -> str:
    if hash_of(body) != hash_:
        raise Tampered(
            "procedure.text_differs",
            "The stored text of a published procedure is not the one of its hash: it is not applied.",
            "Tell the auditor. `diwan ledger verify` names the version; restore its row from a backup, then go on.",
        )
    return body


@lru_cache(maxsize=64)
def _read(hash_: str, body: str) -> Procedure:
    return load_procedure(_as_published(hash_, body))


_COLUMNS = [procedure_version.c[name] for name in Published.__dataclass_fields__]


async def publish(conn: Connection, tenant: str, text: str, actor: Actor, *, now: datetime) -> Published:
    """Publishes a procedure file; new cases are opened under it from now on. On the ledger of the procedure.

    The same text again gives what was published. Raises `InvalidInput` for a file that does not load or in which `lint`
    finds an error, `Conflict` for a version whose text differs.
    """
    procedure = load_procedure(text)
    made = Published(procedure.name, procedure.version, hash_of(text), text, now, actor.subject)
    found = await conn.execute(
        select(*_COLUMNS).where(
            procedure_version.c.tenant == tenant,
            procedure_version.c.name == made.name,
            procedure_version.c.version == made.version,
        )
    )
    row = found.one_or_none()
    if row is not None:
        if row.hash == made.hash:
            return Published(*row)
        raise Conflict(
            "procedure.version_differs",
            f"Version {made.version} of {made.name} was published with another text.",
            "Raise the version in the file.",
        )
    refuse_unpublishable(text)
    values = {name: getattr(made, name) for name in Published.__dataclass_fields__}
    await conn.execute(insert(procedure_version).values(tenant=tenant, **values))
    await append_entry(
        conn,
        tenant,
        f"procedures/{made.name}",
        PUBLISHED,
        actor,
        now=now,
        procedure_hash=made.hash,
        detail={"name": made.name, "version": made.version},
    )
    return made


async def published(conn: Connection, tenant: str, name: str) -> Published:
    """The version of a procedure that was published last. Raises `NotFound`."""
    found = await conn.execute(
        select(*_COLUMNS)
        .where(procedure_version.c.tenant == tenant, procedure_version.c.name == name)
        .order_by(procedure_version.c.published_at.desc(), procedure_version.c.version.desc())
        .limit(1)
    )
    return _found(found.one_or_none())


async def published_by_hash(conn: Connection, tenant: str, hash_: str) -> Published:
    """The version that a case was opened under. Raises `NotFound`."""
    found = await conn.execute(
        select(*_COLUMNS).where(procedure_version.c.tenant == tenant, procedure_version.c.hash == hash_)
    )
    return _found(found.one_or_none())


async def procedure_of(conn: Connection, tenant: str, hash_: str) -> Procedure:
    """As `published_by_hash`, read once a process: what a hash names never changes. Raises `NotFound`, `Tampered`."""
    known = _KNOWN.get((tenant, hash_))
    if known is None:
        known = (await published_by_hash(conn, tenant, hash_)).procedure
        while len(_KNOWN) >= _KNOWN_AT_MOST:
            _KNOWN.pop(next(iter(_KNOWN)))
        _KNOWN[tenant, hash_] = known
    return known


# Tenant and hash, so that a tenant is told of no procedure that it has not published itself.
_KNOWN: dict[tuple[str, str], Procedure] = {}
_KNOWN_AT_MOST = 64


async def list_published(conn: Connection, tenant: str) -> list[Published]:
    """All versions, by name, the newest first."""
    found = await conn.execute(
        select(*_COLUMNS)
        .where(procedure_version.c.tenant == tenant)
        .order_by(procedure_version.c.name, procedure_version.c.published_at.desc())
    )
    return [Published(*row) for row in found]


def _found(row: Row[Any] | None) -> Published:
    if row is None:
        raise NotFound("procedure.unknown", "No procedure of this name is published.", "See `diwan procedure list`.")
    return Published(*row)
