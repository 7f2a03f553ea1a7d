"""Parties of a case: sealed, found again by keyed tokens of folded names and identity numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select

from diwan.domain.fold import fold
from diwan.domain.party import Party, PartyRole
from diwan.domain.ports import Cipher, Keyring, RetentionClass
from diwan.store.connection import Connection
from diwan.store.sealing import context, open_value, seal_value
from diwan.store.tables import party


@dataclass(frozen=True, slots=True)
class PartyRow:
    id: str
    party: Party


async def name_token(keyring: Keyring, tenant: str, name: str) -> str:
    """What a name is searched by: equal for spellings that differ in case, accents, spaces or digits' script."""
    return await keyring.token(tenant, "party.name", " ".join(fold(name).split()))


def folded_number(number: str) -> str:
    """An identity number as it is compared: with or without spaces and dashes, in any case and script of digits."""
    return "".join(char for char in fold(number) if char.isalnum())


def applicant_of(parties: Sequence[Party]) -> int | None:
    """Where the applicant stands among the parties: the first of that role."""
    return next((n for n, person in enumerate(parties) if person.role is PartyRole.APPLICANT), None)


async def identity_token(keyring: Keyring, tenant: str, number: str) -> str:
    """As `name_token` for an identity number; empty for none."""
    folded = folded_number(number)
    return await keyring.token(tenant, "party.identity", folded) if folded else ""


async def seal_parties(
    keyring: Keyring, cipher: Cipher, tenant: str, case_id: str, parties: Sequence[Party], *, answered: str = ""
) -> list[dict[str, object]]:
    """Rows for `insert_parties`. Speaks with the vault: call it before the case is locked.

    `answered` is the identity number that the form asked for: it finds an applicant who was sent without one. The
    party itself is kept as it was sent.
    """
    rows: list[dict[str, object]] = []
    applicant = applicant_of(parties)
    for position, person in enumerate(parties, 1):
        id_ = f"{case_id}.{position}"
        number = person.identity_number
        if position - 1 == applicant and not folded_number(number):
            number = answered
        rows.append(
            {
                "tenant": tenant,
                "id": id_,
                "case_id": case_id,
                "role": person.role.value,
                "language": person.language.value,
                "party_sealed": seal_value(cipher, RetentionClass.DECISION, context("party.party_sealed", id_), person),
                "name_token": await name_token(keyring, tenant, person.name),
                "identity_token": await identity_token(keyring, tenant, number),
            }
        )
    return rows


async def insert_parties(conn: Connection, rows: list[dict[str, object]]) -> None:
    if rows:
        await conn.execute(insert(party), rows)


async def parties_of(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> list[PartyRow]:
    """The parties of a case in the order they were given."""
    rows = await conn.execute(
        select(party.c.id, party.c.party_sealed).where(party.c.tenant == tenant, party.c.case_id == case_id)
    )
    found = [
        PartyRow(
            row.id,
            open_value(cipher, RetentionClass.DECISION, context("party.party_sealed", row.id), row.party_sealed, Party),
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: int(row.id.rpartition(".")[2]))
