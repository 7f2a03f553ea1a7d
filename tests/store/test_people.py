"""People are found by name or number however written, past what is sealed."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import text

from diwan.domain.party import Party, PartyRole
from diwan.store import parties
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.intake import accept_event
from tests.support.factories import TENANT, application, envelope, sender
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")


async def cases_of_person(conn: Connection, token: str) -> list[str]:
    rows = await conn.execute(
        text("SELECT case_id FROM party WHERE :token IN (name_token, identity_token)"), {"token": token}
    )
    return list(rows.scalars())


async def test_people_are_found_by_their_number_however_written(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    person = Party(role=PartyRole.APPLICANT, name="Émilie d’Essai", identity_number="AB-77 001")
    accepted = await accept_event(
        web, keyring, envelope("person"), application("person", parties=[person]), [], client=sender(), now=now
    )
    async with web.transaction(TENANT) as conn:
        for token in (
            await parties.identity_token(keyring, TENANT, "ab77001"),
            await parties.name_token(keyring, TENANT, "emilie  D'ESSAI"),
        ):
            assert await cases_of_person(conn, token) == [accepted.case_id]


@pytest.mark.parametrize("given", ["", " - "])
async def test_an_applicant_sent_without_a_number_is_found_by_the_answer(
    given: str, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    people = [
        Party(role=PartyRole.REPRESENTATIVE, name="Rachid Modèle"),
        Party(role=PartyRole.APPLICANT, name="Amina Essai", identity_number=given),
        Party(role=PartyRole.APPLICANT, name="Salma Essai"),
    ]
    id_ = f"answered{given}"
    data = application(id_, parties=people, answers={"identity_number": f"qx-88 0{len(given)}"})
    accepted = await accept_event(web, keyring, envelope(id_), data, [], client=sender(), now=now)
    assert accepted.case_id is not None
    token = await parties.identity_token(keyring, TENANT, f"QX880{len(given)}")
    async with web.transaction(TENANT) as conn:
        assert await cases_of_person(conn, token) == [accepted.case_id]
        rows = await conn.execute(text("SELECT id FROM party WHERE identity_token = :token"), {"token": token})
        assert list(rows.scalars()) == [f"{accepted.case_id}.2"]
        cipher = await keyring.cipher(TENANT, accepted.case_id)
        kept = await parties.parties_of(conn, TENANT, accepted.case_id, cipher)
    assert [row.party for row in kept] == people
