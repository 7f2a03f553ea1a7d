"""Letters on the ledger: each begins a chain of its own, and the one that ends another says so there."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

import pytest

from activities.correspondence import Correspondence
from activities.letters import Letter
from activities.receipts import facts_of
from diwan.documents.typeset import render_letter
from diwan.domain.event import APPLICATION_WITHDRAWN
from diwan.domain.ports import RetentionClass
from diwan.domain.task import TaskAct
from diwan.domain.text import Language
from diwan.ledger.entry import commit
from diwan.ledger.receipt import ISSUED
from diwan.ledger.receipt_code import chain_of, read_code
from diwan.ledger.receipt_standing import REPLACED, WITHDRAWN
from diwan.store import letters
from diwan.store.entries import EntryRow, entries_of
from diwan.store.sealing import context, open_json
from tests.activities.office import PIECES, Office
from tests.documents.letters import letter
from tests.support.factories import CLERK, TENANT


async def chain(office: Office, name: str) -> Sequence[EntryRow]:
    async with office.worker.transaction(TENANT) as conn:
        return await entries_of(conn, TENANT, name)


async def kinds_of(office: Office, name: str) -> list[str]:
    return [entry.kind for entry in await chain(office, name)]


async def test_a_letter_begins_a_chain_that_says_nothing_of_its_case(office: Office) -> None:
    case = await office.open("receipt-of-receipt")
    await office.perform(await office.here(case))
    (row,) = await office.letters(case)
    code = str(row.content["code"])
    assert read_code(code) == code
    assert row.receipt_chain == chain_of(code)
    (entry,) = await chain(office, chain_of(code))
    header = json.loads(entry.header)
    assert (header["kind"], header["seq"]) == (ISSUED, 1)
    assert set(header["detail"]) == {"facts"}
    assert case.encode() not in entry.header
    assert not {"case", "case_seq", "step", "approval", "workflow_run"} & set(header)
    (issued,) = await office.entries(case, "letter:letter:issued")
    assert json.loads(issued.header)["detail"]["receipt"] == chain_of(code)
    # What is sealed opens what the entry commits to, and names the file that went out.
    cipher = await office.keyring.cipher(TENANT, case)
    async with office.worker.transaction(TENANT) as conn:
        _, pdf = await letters.read_letter(conn, TENANT, row.id, cipher)
    ((sealed,),) = office.stored("select receipt_sealed from letter where id = %s", row.id)
    assert isinstance(sealed, bytes)
    kept = open_json(cipher, RetentionClass.DECISION, context("letter.receipt_sealed", row.id), sealed)
    facts = json.loads(kept["facts"])
    assert facts["pdf"] == hashlib.sha256(pdf).hexdigest()
    assert (facts["kind"], facts["number"], facts["code"], facts["sample"]) == ("receipt", row.number, code, True)
    assert header["detail"]["facts"] == commit(base64.b64decode(kept["salt"]), kept["facts"].encode())


async def test_a_letter_set_twice_has_the_same_code(office: Office) -> None:
    case = await office.open("same-code")
    step = await office.here(case)
    codes: list[str] = []

    async def typeset(content: Letter) -> bytes:
        codes.append(content.code)
        if len(codes) == 1:
            raise RuntimeError("the process ends here")
        return await render_letter(content)

    issuing = Correspondence(office.worker, office.keyring, typeset, office.clock)
    with pytest.raises(RuntimeError):
        await issuing.issue(step)
    assert await issuing.issue(step)
    assert codes[0] == codes[1] == (await office.letters(case))[0].content["code"]


async def test_a_withdrawn_application_withdraws_what_was_asked_and_leaves_its_receipt(office: Office) -> None:
    case = await office.open("withdrawn-later", {"identity_card": PIECES["identity_card"]})
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    assert (await office.perform(await office.here(case))).step == "await_pieces"
    await office.tell(case, APPLICATION_WITHDRAWN)
    await office.drain(case)
    await office.perform(await office.here(case))
    by_kind = {row.kind: row for row in await office.letters(case)}
    assert set(by_kind) == {"receipt", "request_for_pieces", "withdrawal"}
    chains = {kind: row.receipt_chain or "" for kind, row in by_kind.items()}
    assert await kinds_of(office, chains["receipt"]) == [ISSUED]
    assert await kinds_of(office, chains["request_for_pieces"]) == [ISSUED, WITHDRAWN]
    assert await kinds_of(office, chains["withdrawal"]) == [ISSUED]
    (_, ended) = await chain(office, chains["request_for_pieces"])
    assert json.loads(ended.header)["detail"] == {"by": chains["withdrawal"]}
    assert REPLACED not in await kinds_of(office, chains["request_for_pieces"])


def test_facts_have_what_a_stranger_may_know_and_no_more() -> None:
    content = letter("decision", Language.AR)
    facts = facts_of(content, b"%PDF")
    assert set(facts.model_dump()) == {
        "v",
        "code",
        "kind",
        "number",
        "date",
        "office",
        "language",
        "result",
        "sample",
        "pdf",
    }
    said = facts.encoded().decode()
    for hidden in (content.applicant.name, content.applicant.identity_number, content.case_number + '"', "650"):
        assert hidden not in said
    long = letter("receipt", Language.FR, office={"name": "é" * 500})
    assert facts_of(long, b"").office == "é" * 160
