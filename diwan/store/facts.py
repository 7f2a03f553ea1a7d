"""Facts of a case with their provenance: nothing is overwritten, the highest revision counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql

from diwan.domain.facts import Fact
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.connection import Connection
from diwan.store.sealing import context, open_value, seal_value
from diwan.store.tables import fact

_BY_PERSON = "person"  # kept apart from what the next reading of the documents says


def _column(value: Fact) -> str:
    return _BY_PERSON if value.by_person else value.provenance.value


def _context(case_id: str, name: str, provenance: str, revision: int) -> str:
    return context("fact.fact_sealed", case_id, name, provenance, revision)


async def store_facts(
    conn: Connection, tenant: str, case_id: str, facts: Sequence[Fact], cipher: Cipher, *, version: int, now: datetime
) -> None:
    """Adds a revision of each fact, under the case's lock. Later ones of the same name and provenance count.

    `version` is the one that the case has after this transaction: from its entry on the facts are known,
    and it counts them (`Change.brought`).
    """
    if not facts:
        return
    found = await conn.execute(
        select(fact.c.name, fact.c.provenance, func.max(fact.c.revision))
        .where(fact.c.tenant == tenant, fact.c.case_id == case_id)
        .group_by(fact.c.name, fact.c.provenance)
    )
    last: dict[tuple[str, str], int] = {(name, provenance): revision for name, provenance, revision in found}
    rows: list[dict[str, object]] = []
    for value in facts:
        provenance = _column(value)
        revision = last[value.name, provenance] = last.get((value.name, provenance), 0) + 1
        place = _context(case_id, value.name, provenance, revision)
        rows.append(
            {
                "tenant": tenant,
                "case_id": case_id,
                "name": value.name,
                "provenance": provenance,
                "revision": revision,
                "fact_sealed": seal_value(cipher, RetentionClass.EVIDENCE, place, value),
                "established_at": now,
                "version": version,
            }
        )
    await conn.execute(insert(fact), rows)


async def current_facts(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> list[Fact]:
    """The facts that count, at most one per name and provenance, and one that a person entered."""
    rows = await conn.execute(
        select(fact.c.name, fact.c.provenance, fact.c.revision, fact.c.fact_sealed)
        .ext(postgresql.distinct_on(fact.c.name, fact.c.provenance))
        .where(fact.c.tenant == tenant, fact.c.case_id == case_id)
        .order_by(fact.c.name, fact.c.provenance, fact.c.revision.desc())
    )
    return [open_fact(cipher, case_id, row.name, row.provenance, row.revision, row.fact_sealed) for row in rows]


def open_fact(cipher: Cipher, case_id: str, name: str, provenance: str, revision: int, sealed: bytes) -> Fact:
    """A stored fact, opened. Raises `Tampered`."""
    place = _context(case_id, name, provenance, revision)
    return open_value(cipher, RetentionClass.EVIDENCE, place, sealed, Fact)
