"""What `diwan ledger reconcile` finds of real cases: on their letters' own chains, in the vault, in Temporal."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest

from diwan.domain.actor import system
from diwan.domain.event import APPLICATION_WITHDRAWN
from diwan.domain.task import TaskAct
from diwan.ledger.receipt import ISSUED, Facts
from diwan.ledger.receipt_code import chain_of, code_of
from diwan.ledger.receipt_standing import REPLACED
from diwan.reconcile import Reconciled, Reconciliation
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.receipts import open_receipt, seal_receipt
from tests.activities.office import PIECES, Office
from tests.support.factories import CLERK, TENANT


@dataclass
class Auditor:
    office: Office
    db: Database

    def work(self, client: Any = None) -> Reconciliation:
        return Reconciliation(self.db, self.office.keyring, client, self.office.clock.now)

    async def case(self, case: str, client: Any = None) -> Reconciled:
        return await self.work(client).of_case(TENANT, case)

    async def names(self, case: str, client: Any = None) -> set[str]:
        return set((await self.case(case, client)).by_name)


@pytest.fixture
async def auditor(office: Office) -> AsyncGenerator[Auditor]:
    db = Database.connect(office.database.url("diwan_auditor"), role="diwan_auditor", pool_size=1)
    yield Auditor(office, db)
    await db.dispose()


async def withdrawn(office: Office, reference: str) -> dict[str, str]:
    """A case with three letters, the last of which ended the second; each one's chain by its kind, `case` its id."""
    case = await office.open(reference, {"identity_card": PIECES["identity_card"]})
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.perform(await office.here(case))
    await office.tell(case, APPLICATION_WITHDRAWN)
    await office.drain(case)
    await office.perform(await office.here(case))
    return {"case": case, **{row.kind: row.receipt_chain or "" for row in await office.letters(case)}}


async def adds(office: Office, chain: str, kind: str, **detail: str) -> None:
    """As whoever holds the worker's role can."""
    async with office.worker.transaction(TENANT) as conn:
        await append_entry(conn, TENANT, chain, kind, system(TENANT, "worker"), now=office.clock.now, detail=detail)


async def test_a_receipt_of_no_letter_is_named_and_a_word_that_no_letter_brought_about(
    auditor: Auditor, office: Office
) -> None:
    forged = chain_of(code_of(b"a forged PDF".ljust(12)))
    there = await withdrawn(office, "true-letters")
    before = await auditor.work().of_all(TENANT)
    assert not any(name.startswith("receipt.") for name in before.by_name), before.findings
    await adds(office, forged, ISSUED, facts="0" * 64)
    told = await auditor.work().of_all(TENANT)
    assert [(each.where, each.case) for each in told.findings if each.name == "receipt.row_missing"] == [(forged, "")]
    whole = await auditor.case(there["case"])
    assert (whole.findings, whole.counts["receipts opened"]) == ([], 3)
    await adds(office, there["receipt"], REPLACED, by=there["withdrawal"])
    assert await auditor.names(there["case"]) == {"receipt.chain_differs"}


async def test_a_receipt_that_was_made_for_another_file_is_named(auditor: Auditor, office: Office) -> None:
    there = await withdrawn(office, "another-file")
    cipher = await office.keyring.cipher(TENANT, there["case"])
    (row,) = (each for each in await office.letters(there["case"]) if each.kind == "receipt")
    ((kept,),) = office.stored("select receipt_sealed from letter where id = %s", row.id)
    assert isinstance(kept, bytes)
    facts, salt = open_receipt(cipher, row.id, kept)
    other = Facts.model_validate_json(facts).model_copy(update={"pdf": "0" * 64})
    made = seal_receipt(cipher, row.id, other, salt)
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update letter set receipt_sealed = %s where id = %s", [made.sealed, row.id])
    told = await auditor.case(there["case"])
    assert [(each.name, each.where) for each in told.findings] == [("receipt.facts_differ", there["receipt"])]
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update letter set receipt_sealed = %s, blob = (select min(blob) from letter where id <> %s) where id = %s",
            [kept, row.id, row.id],
        )
    assert await auditor.names(there["case"]) == {"cipher.does_not_open"}
