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
from diwan.domain.actor import Role
from diwan.domain.errors import Conflict
from diwan.domain.event import APPLICATION_WITHDRAWN, PIECES_SUPPLIED
from diwan.domain.ports import RetentionClass
from diwan.domain.task import TaskAct
from diwan.domain.text import Language
from diwan.ledger.entry import commit
from diwan.ledger.receipt import ISSUED
from diwan.ledger.receipt_code import chain_of, read_code
from diwan.ledger.receipt_standing import REPLACED, WITHDRAWN
from diwan.procedures.examples import example_text
from diwan.store import letters
from diwan.store.database import Database
from diwan.store.entries import EntryRow, entries_of
from diwan.store.procedures import publish
from diwan.store.sealing import context, open_json
from tests.activities.office import PIECES, Office
from tests.documents.letters import letter
from tests.support.factories import AUTHORITY, CLERK, PROCEDURE, TENANT, person


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


# After the decision somebody looks at it again, and it may be signed anew.
CORRECTING = """      - {to: correction}
  correction:
    kind: task
    task: review
    roles: [clerk, supervisor]
    label: {ar: تصحيح القرار, fr: Correction de la décision, en: Correct the decision}
    next:
      - {on: approved, to: sign}
      - {to: closed, result: granted}
"""


async def test_a_decision_replaces_the_request_before_it_and_nothing_replaces_a_decision(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case has one decision: where a procedure that was published before lint looked for it would issue another, it
    fails there, and the first stands."""
    monkeypatch.setattr("diwan.store.procedures.refuse_unpublishable", str)  # refuses nothing
    text = example_text(PROCEDURE).replace('version: "1.2"', 'version: "1.3"')
    text = text.replace("      - {to: closed}\n", CORRECTING)
    owner = Database.connect(office.database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    async with owner.transaction(TENANT) as conn:
        await publish(conn, TENANT, text, person("analyst-1", Role.ANALYST), now=office.clock.now)
    await owner.dispose()
    missing = {piece: content for piece, content in PIECES.items() if piece != "sale_promise"}
    case = await office.open("decided-twice", missing)
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    assert (await office.perform(await office.here(case))).step == "await_pieces"
    await office.tell(case, PIECES_SUPPLIED, {"sale_promise": PIECES["sale_promise"]})
    await office.drain(case)
    assert (await office.examine(await office.here(case))).step == "review"
    await _signed(office, case)
    assert (await office.perform(await office.here(case))).step == "correction"
    await _signed(office, case)
    with pytest.raises(Conflict) as refused:
        await office.perform(await office.here(case))
    assert refused.value.code == "decision.exists"
    chains = {row.kind: row.receipt_chain or "" for row in await office.letters(case)}
    assert {kind: await kinds_of(office, name) for kind, name in chains.items()} == {
        "receipt": [ISSUED],
        "request_for_pieces": [ISSUED, REPLACED],
        "decision": [ISSUED],
    }
    (_, ended) = await chain(office, chains["request_for_pieces"])
    assert json.loads(ended.header)["detail"] == {"by": chains["decision"]}


async def _signed(office: Office, case: str) -> None:
    """From a review to the step that issues the decision."""
    await office.act(CLERK, case, TaskAct.APPROVE)
    assert (await office.drain(case)).step == "sign"
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    assert (await office.drain(case)).step == "decide"


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
