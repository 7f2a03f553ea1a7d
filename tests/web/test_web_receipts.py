"""Whether a letter still stands: whoever has its code is told, the same of every code that names nothing."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import pypdfium2
import pytest
import zxingcpp

from diwan.domain.actor import system
from diwan.domain.errors import Tampered
from diwan.domain.ports import RetentionClass
from diwan.ledger.policy import Policy, parse_policy
from diwan.ledger.proof import parse_proof
from diwan.ledger.receipt import check_letter, check_receipt, find_receipt, unpack
from diwan.ledger.receipt_code import chain_of, code_of
from diwan.ledger.receipt_standing import REPLACED, WITHDRAWN, Stands, check_standing
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.entries import entries_of
from diwan.store.letters import SealedLetter, seal_letter, store_letter
from diwan.store.origin import written_by
from diwan.store.receipts import follow_receipt, issue_receipt, seal_receipt
from diwan.tracing import spans
from diwan.web.receipts import Bound
from tests.ledger.receipts import LETTER, SALT, facts
from tests.support.databases import TestDatabase
from tests.support.factories import CLERK, TENANT, person, sender
from tests.support.growing import Grower, growing
from tests.web.conftest import Service, an_event

WORKER = system(TENANT, "worker")


@pytest.fixture(scope="module")
async def log(settled: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Grower]:
    async with growing(settled, tmp_path_factory.mktemp("signer")) as made:
        await made.grow(20)
        yield made


@pytest.fixture
async def worker(settled: TestDatabase) -> AsyncIterator[Database]:
    made = Database.connect(settled.url("diwan_worker"), role="diwan_worker", pool_size=1)
    yield made
    await made.dispose()


async def issue(service: Service, worker: Database, name: str) -> SealedLetter:
    """A decision as the worker issues it; its code is `code_of` the name."""
    case = (await service.send(an_event(name))).json()["case"]
    cipher = await service.keyring.cipher(TENANT, case)
    id_ = f"{case}/decide/1"
    made = seal_letter(
        cipher,
        id_,
        kind="decision",
        language="ar",
        number="DW-2026-000142/3",
        template="1",
        content={"check_at": "https://verifier.logement.example"},
        pdf=LETTER,
        receipt=seal_receipt(cipher, id_, facts(code=of(name)), SALT),
    )
    assert made.receipt is not None
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=service.clock.now) as change:
        await store_letter(change, made)
        await issue_receipt(change, WORKER, made.receipt)
        change.record("case:decision:issued", WORKER)
    return made


async def follow(service: Service, worker: Database, letter: SealedLetter, kind: str) -> None:
    case = letter.id.partition("/")[0]
    assert letter.receipt is not None
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=service.clock.now) as change:
        await follow_receipt(change, WORKER, letter.receipt.chain, kind, chain_of(of("another")))
        change.record("letter:letter:issued", WORKER)


def of(name: str) -> str:
    return code_of(name.encode().ljust(12))


def policy(log: Grower) -> Policy:
    (key,) = log.memory.keys()
    return parse_policy(f"log {key}\nquorum none\n".encode())


async def test_whoever_has_the_code_is_told_how_the_letter_stands(service: Service, worker: Database, log: Grower):
    letter = await issue(service, worker, "stands")
    answer = await service.http.get(f"/ledger/receipts/{of('stands').lower().replace('-', '')}")
    assert answer.json() == {"status": "in_force", "since": answer.json()["since"], "receipt": "", "proof": ""}
    await log.grow(1)
    for kind, status in ((None, "in_force"), (REPLACED, "replaced"), (WITHDRAWN, "withdrawn")):
        if kind:
            await follow(service, worker, letter, kind)
            await log.grow(1)
        answer = await service.http.get(f"/ledger/receipts/{of('stands')}")
        said = answer.json()
        assert said["status"] == status
        checked = check_receipt(unpack(said["receipt"]), policy(log))
        assert checked.facts == facts(code=of("stands"))
        assert check_standing(said["proof"].encode(), of("stands"), policy(log)).stands == Stands(status)
        with pytest.raises(Tampered):
            check_standing(said["proof"].encode(), of("another"), policy(log))
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"


class Recorded:
    """A span, of which only the place in its tree counts."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def end(self, name: str, attributes: Mapping[str, object], *, failed: bool) -> None:
        return


class Traced:
    """A tracer whose spans go nowhere."""

    def begin(self, kind: int, *, parent: str, inner: bool, link: str, began_ns: int) -> Recorded:
        return Recorded(parent or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")

    def flush(self) -> None:
        return


async def test_nothing_of_the_case_or_of_anybody_is_in_the_answer(
    service: Service, worker: Database, log: Grower, monkeypatch: pytest.MonkeyPatch
):
    """Issued and followed as an activity does it: inside a run of the case's workflow, and inside the case's trace."""
    monkeypatch.setattr(spans, "_tracer", Traced())
    trace, run = secrets.token_hex(16), str(uuid.uuid4())
    with spans.span("activity", of=f"00-{trace}-{secrets.token_hex(8)}-01"), written_by(run, "7"):
        assert spans.trace_id() == trace
        letter = await issue(service, worker, "discreet")
        await follow(service, worker, letter, REPLACED)
    await log.grow(1)
    case = letter.id.partition("/")[0]
    async with worker.transaction(TENANT) as conn:
        issued = next(e for e in await entries_of(conn, TENANT, case) if e.kind == "case:decision:issued")
    own = json.loads(issued.header)
    assert own["workflow_run"] == f"{run}/7", "the case's own entry says by which run"
    said = (await service.http.get(f"/ledger/receipts/{of('discreet')}")).json()
    receipt = unpack(said["receipt"])
    told = receipt.header + receipt.facts + parse_proof(said["proof"].encode()).extra
    for hidden in (case, "Exemplaire", "ZZ100001", "Zineb", "decide", trace, own["trace_id"], run, "workflow"):
        assert hidden.encode() not in told


async def test_all_that_names_nothing_is_answered_alike(service: Service, worker: Database, log: Grower):
    letter = await issue(service, worker, "erased")
    await log.grow(1)
    right = of("erased")
    wrong = ("A" if right[0] != "A" else "B") + right[1:]
    answers = [
        await service.http.get(f"/ledger/receipts/{code}")
        for code in (of("none"), wrong, "x", "%F0%9F%92%A9", "A" * 900)
    ]
    assert (await service.http.get(f"/ledger/receipts/{right}")).json()["status"] == "in_force"
    await service.keyring.destroy(TENANT, letter.id.partition("/")[0], [RetentionClass.DECISION], "an order")
    answers.append(await service.http.get(f"/ledger/receipts/{right}"))
    assert {(answer.status_code, answer.text) for answer in answers} == {
        (200, '{"status":"unknown","since":null,"receipt":"","proof":""}')
    }
    assert len({tuple(sorted(set(answer.headers) - {"date"})) for answer in answers}) == 1


async def test_so_many_are_answered_in_a_minute(service: Service):
    service.app.state.receipts = Bound(service.clock, 3)
    code = f"/ledger/receipts/{of('so-many')}"
    for _ in range(3):
        assert (await service.http.get(code)).status_code == 200
    answer = await service.http.get(code)
    assert (answer.status_code, answer.json()["code"]) == (503, "receipt.too_many")
    assert answer.headers["retry-after"]
    service.clock.pass_(minutes=1)
    assert (await service.http.get(code)).status_code == 200


async def test_what_cannot_be_a_code_costs_nobody_a_question(service: Service, monkeypatch: pytest.MonkeyPatch):
    service.app.state.receipts = Bound(service.clock, 1)
    with monkeypatch.context() as patch:
        patch.setattr(service.app.state.dependencies.db, "transaction", None)
        for slip in ("x", of("slip")[:-1], of("slip")[:-1] + ("0" if of("slip")[-1] != "0" else "1"), "A" * 900):
            answer = await service.http.get(f"/ledger/receipts/{slip}")
            assert (answer.status_code, answer.json()["status"]) == (200, "unknown")
    assert (await service.http.get(f"/ledger/receipts/{of('slip')}")).status_code == 200, "the question that is left"


async def test_a_letters_sheet_carries_its_receipt_once_the_tree_is_signed(
    service: Service, worker: Database, log: Grower
):
    letter = await issue(service, worker, "sheet")
    case = letter.id.partition("/")[0]
    (view,) = (await service.get(f"/v1/cases/{case}/letters", CLERK)).json()["items"]
    waiting = await service.get(view["sheet"], CLERK)
    assert (waiting.status_code, waiting.json()["code"]) == (503, "ledger.not_yet")
    assert waiting.headers["retry-after"]
    assert (await service.get(view["address"], CLERK)).content == LETTER, "the letter does not wait"
    await log.grow(1)
    answer = await service.get(view["sheet"], sender())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    with pypdfium2.PdfDocument(answer.content) as document:
        (read,) = zxingcpp.read_barcodes(document[0].render(scale=2).to_pil())
    assert read.text == find_receipt(answer.content)
    checked = check_receipt(unpack(read.text), policy(log))
    check_letter(checked, LETTER)
    assert (await service.get(view["sheet"], person("nobody"))).status_code == 403


async def test_a_letter_of_before_has_no_sheet(service: Service, worker: Database):
    case = (await service.send(an_event("before"))).json()["case"]
    cipher = await service.keyring.cipher(TENANT, case)
    made = seal_letter(
        cipher, f"{case}/receipt/1", kind="receipt", language="fr", number="1", template="1", content={}, pdf=LETTER
    )
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=service.clock.now) as change:
        await store_letter(change, made)
        change.record("letter:letter:issued", WORKER)
    (view,) = (await service.get(f"/v1/cases/{case}/letters", CLERK)).json()["items"]
    assert view["sheet"] == ""
    answer = await service.get(f"{view['address']}?format=sheet", CLERK)
    assert (answer.status_code, answer.json()["code"]) == (404, "receipt.no_code")
