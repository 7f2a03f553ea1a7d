"""What a step of an agent's run needs of its case, in one statement: no name, no text, no page."""

from __future__ import annotations

from dataclasses import dataclass

from diwan.domain.errors import NotFound
from diwan.domain.facts import Fact, Provenance
from diwan.domain.ports import Cipher
from diwan.store.connection import Connection, Statement
from diwan.store.facts import open_fact

_IDENTITY = "identity_number"


@dataclass(frozen=True, slots=True)
class BriefedDocument:
    """A document of the case without its name and content."""

    id: str
    pages: int
    piece: str
    status: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BriefRow:
    """`identity` is the applicant's number as declared, where the procedure asks for it; `documents` as they came."""

    procedure: str
    procedure_hash: str
    language: str
    identity: Fact | None
    documents: list[BriefedDocument]


def ask_ahead(conn: Connection, tenant: str, case_id: str) -> None:
    """Has the next message ask for what `brief_row` needs."""
    conn.ask_ahead(_BRIEF.command(_of(tenant, case_id)))


async def brief_row(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> BriefRow:
    """Raises `NotFound` for no such case (of this tenant)."""
    row = await _BRIEF.row(conn, _of(tenant, case_id))
    if row is None:
        raise NotFound("case.unknown", "There is no such case.", "Check its number.")
    identity = None
    if row.fact_sealed is not None:
        identity = open_fact(cipher, case_id, _IDENTITY, Provenance.DECLARED.value, row.revision, row.fact_sealed)
    documents = [BriefedDocument(*each[:4], flags=tuple(each[4])) for each in row.documents]
    return BriefRow(row.procedure, row.procedure_hash, row.language, identity, documents)


def _of(tenant: str, case_id: str) -> dict[str, object]:
    return {"tenant": tenant, "case": case_id, "fact": _IDENTITY, "provenance": Provenance.DECLARED.value}


_BRIEF = Statement(
    "SELECT c.procedure, c.procedure_hash, c.language, f.revision, f.fact_sealed,"
    " (SELECT coalesce(json_agg(json_build_array(d.id, d.pages, d.piece, d.status, d.flags)"
    " ORDER BY d.received_at, d.id), '[]') FROM document d"
    " WHERE d.tenant = :tenant AND d.case_id = :case) AS documents "
    "FROM case_file c LEFT JOIN LATERAL (SELECT revision, fact_sealed FROM fact"
    " WHERE tenant = :tenant AND case_id = :case AND name = :fact AND provenance = :provenance"
    " ORDER BY revision DESC LIMIT 1) f ON true WHERE c.tenant = :tenant AND c.id = :case"
)
