"""A case with a row in every table of its children, made through the store's own functions."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

from agents.compare import compare
from diwan.domain.actor import agent, system
from diwan.domain.case import Result, StepKind
from diwan.domain.decision import Assessment, Proposal
from diwan.domain.erasure import Ground
from diwan.domain.event import DocumentRef
from diwan.domain.facts import Fact, PageText, Provenance
from diwan.domain.party import Party, PartyRole
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.rerun import Conditions, Side
from diwan.domain.task import ActInput, TaskAct, TaskKind
from diwan.ledger.receipt import Facts
from diwan.ledger.receipt_code import code_of
from diwan.store import (
    calls,
    decisions,
    documents,
    erasures,
    facts,
    histories,
    holds,
    inbox,
    letters,
    notifications,
    outbox,
    receipts,
    reruns,
    runs,
    tasks,
    tool_calls,
)
from diwan.store.acts import act_on_task
from diwan.store.call_records import CallRecord
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.erasures import Wanted
from diwan.store.intake import accept_event
from diwan.store.proposals import make_proposal
from tests.support.factories import (
    AUDITOR,
    AUTHORITY,
    CLERK,
    SUPERVISOR,
    TENANT,
    a_document,
    application,
    envelope,
    sender,
)
from tests.support.keyring import MemoryKeyring


async def whole_case(
    web: Database,
    worker: Database,
    pool: Database,
    keyring: MemoryKeyring,
    reference: str,
    *,
    secret: str,
    now: datetime,
) -> str:
    """Opens a case and takes it to its decision; `secret` is in every value that is personal."""
    accepted = await accept_event(
        web,
        keyring,
        envelope(f"whole-{reference}"),
        application(
            reference,
            parties=[
                Party(
                    role=PartyRole.APPLICANT,
                    name=f"Zineb {secret}",
                    identity_number=secret,
                    address=secret,
                    contact=secret,
                )
            ],
            answers={"residence": secret, "notary": secret, "price": 290_000},
            documents=[DocumentRef(name=f"{secret}.txt", piece="identity_card", part="p")],
        ),
        [a_document(f"Certificat de {secret}")],
        client=sender(),
        now=now,
    )
    case_id = accepted.case_id
    assert case_id is not None
    document = accepted.documents[0].id
    cipher = await keyring.cipher(TENANT, case_id)

    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        run = await runs.start_run(change, "examine", 1, spec="dossier-examiner", prompts="1")
        await documents.store_pages(
            conn, TENANT, case_id, [PageText(document=document, page=1, text=f"Certificat de {secret}")], cipher
        )
        (event,) = await inbox.pending(conn, TENANT, case_id, change.cursor)
        await inbox.consume(change, event, "receipt/1")
        change.record("agent:run:started", agent(TENANT, "dossier-examiner"), cipher=cipher)

    async with pool.transaction(TENANT) as conn:
        calls.store_request(
            conn,
            TENANT,
            case_id=case_id,
            run=run.id,
            call=1,
            attempt=1,
            final=True,
            model="demo",
            host="a-host",
            request=secret.encode(),
            cipher=cipher,
            now=now,
        )
    async with pool.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        answer = calls.answer_command(
            TENANT,
            cipher,
            run=run.id,
            call=1,
            attempt=1,
            body=secret.encode(),
            broken="",
            engine="demo",
            usage={"prompt_tokens": 10, "completion_tokens": 5},
            now=now,
        )
        await calls.store_answer(change, answer)
        change.record(
            "agent:model:called",
            agent(TENANT, "dossier-examiner"),
            cipher=cipher,
            body={"said": secret},
            commitments={"request": secret.encode()},
        )

    await _run_again(web, pool, cipher, case_id, run.id, secret=secret, now=now)

    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await tool_calls.store_tool_result(
            change,
            cipher,
            run=run.id,
            call=1,
            position=0,
            tool="read_page",
            effect="read",
            arguments={"name": secret},
            result={"text": secret},
            ok=True,
        )
        fact = Fact(
            name="residence",
            value=secret,
            provenance=Provenance.DOCUMENT,
            as_of=date(2026, 11, 23),
            established_by="agent:dossier-examiner",
        )
        await facts.store_facts(conn, TENANT, case_id, [fact], cipher, version=change.version, now=now)
        await runs.end_run(change, run.id, status="finished")
        proposal = Proposal(
            proposer="rules",
            assessment=Assessment(result=Result.GRANTED, amount=100_000),
            facts=[fact],
            summary=f"Demande de {secret}",
        )
        made = await make_proposal(conn, TENANT, case_id, proposal, cipher, now=now)
        task = await tasks.open_task(
            change,
            cipher,
            kind=TaskKind.SIGN,
            step="sign",
            visit=1,
            shown={"proposal": proposal.model_dump(mode="json")},
            roles=[*AUTHORITY.roles],
            proposer=CLERK.subject,
            proposal_id=made.id,
        )
        change.plan(StepKind.TASK, None)
        change.record("agent:run:ended", agent(TENANT, "dossier-examiner"), cipher=cipher, body={"summary": secret})

    given = ActInput(digest=task.digest, reason=f"Signé pour {secret}")
    await act_on_task(web, keyring, AUTHORITY, task.id, TaskAct.APPROVE, given, key="sign", now=now)

    made_letter = letters.seal_letter(
        cipher,
        f"{case_id}/decide/1",
        kind="decision",
        language="fr",
        number=f"L-{reference}",
        template="decision/1",
        content={"to": secret},
        pdf=f"%PDF {secret}".encode(),
        receipt=receipts.seal_receipt(
            cipher, f"{case_id}/decide/1", _facts(reference, secret), hashlib.sha256(secret.encode()).digest()
        ),
    )
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await decisions.store_decision(
            change,
            result=Result.GRANTED,
            proposal=proposal,
            signed_by=AUTHORITY.subject,
            delegation_id="delegation-1",
            signed_at=now,
            cipher=cipher,
        )
        await letters.store_letter(change, made_letter)
        assert made_letter.receipt is not None
        await receipts.issue_receipt(change, system(TENANT, "worker"), made_letter.receipt)
        await notifications.store_notification(change, made_letter.id, channel="post")
        await notifications.mark_received(change, cipher, letter=made_letter.id, proof=f"Reçu de {secret}", at=now)
        await outbox.enqueue_outbox(
            conn, TENANT, case_id, "diwan.case.decided", {"case": case_id}, key=f"{case_id}/decide/1", now=now
        )
        change.state.result = Result.GRANTED
        change.plan(StepKind.END, None)
        change.closed(now)
        change.record("case:decision:signed", system(TENANT, "worker"), cipher=cipher, body={"to": secret})

    wanted = Wanted([*RetentionClass], Ground.REQUEST, "Loi n° 00-26, article 30", reason=f"{secret} le demande")
    async with web.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await erasures.ask_erasure(change, cipher, SUPERVISOR, wanted)
    async with web.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        hold = await holds.place_hold(change, cipher, AUTHORITY, f"{secret} a saisi le tribunal")
    async with web.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await holds.lift_hold(change, cipher, AUTHORITY, hold.id, f"{secret} s'est désisté")

    run = histories.Run(TENANT, case_id, f"{TENANT}/{case_id}", case_id)  # the form of a run's id, too
    async with worker.transaction(TENANT) as conn:
        await histories.know_runs(conn, [run], now=now)
    kept = histories.seal_history(cipher, run.run_id, b'{"events":[]}')
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await histories.keep_history(change, cipher, run, kept, workflow="Case", events=0, ended="completed")
    return case_id


async def _run_again(
    web: Database, pool: Database, cipher: Cipher, case_id: str, run: str, *, secret: str, now: datetime
) -> None:
    """An auditor has the model call sent again, and it is answered otherwise."""
    side = Side(model="demo")
    record = CallRecord(1, 1, now, run, "examine", 1, 1, 1, True, "", side, "0", 1)
    async with web.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await reruns.ask_rerun(change, record, AUDITOR, cipher, rerun=f"again-{case_id}", key=case_id)
    async with pool.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        row = await reruns.get_rerun(conn, TENANT, case_id, f"again-{case_id}")
        answer = f"{secret}, said otherwise".encode()
        came = reruns.Came(answer, compare(secret.encode(), answer), Conditions(then=side, now=side))
        await reruns.end_rerun(change, row, system(TENANT, "pool"), cipher, came=came)


def _facts(reference: str, secret: str) -> Facts:
    return Facts(
        code=code_of(hashlib.sha256(reference.encode()).digest()),
        kind="decision",
        number=f"L-{reference}",
        date=date(2026, 11, 23),
        office=secret,
        language="fr",
        result="granted",
        pdf="0" * 64,
    )


async def drain(worker: Database, case: str, now: datetime) -> None:
    """Consumes what is left in the inbox: nothing waits for the case any more."""
    while True:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
            found = await inbox.pending(conn, TENANT, case, change.cursor, limit=1)
            if not found:
                change.unchanged()
                return
            await inbox.consume(change, found[0], "test")
            change.record("event:event:consumed", CLERK)
