"""Issues the letter of a step: set outside any lock, then recorded with notification and decision in one go."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from activities.dossier import Dossier, read_dossier
from activities.letters import Letter, Occasion, Signature, compose
from activities.moves import announce, carry
from activities.receipts import facts_of, follow
from diwan.documents.typeset import template_version
from diwan.domain.actor import Actor, system
from diwan.domain.case import step_key
from diwan.domain.errors import NeedsPerson
from diwan.domain.ports import Cipher, Keyring
from diwan.domain.task import TaskKind
from diwan.domain.tenant import TenantSettings
from diwan.ledger.entry import SALT_BYTES
from diwan.ledger.receipt_code import code_of
from diwan.procedures.flow import after_step
from diwan.procedures.steps import APPROVED, DONE, ActStep, LetterKind
from diwan.store import cases, decisions, delegations, inbox, letters, notifications, receipts, runs, tasks, tenants
from diwan.store.change import Change, change_case
from diwan.store.connection import Connection
from diwan.store.database import Database
from workflows.calls import StepRef

Clock = Callable[[], datetime]
# Sets a letter as a tagged PDF.
Typeset = Callable[[Letter], Awaitable[bytes]]

LETTER_ISSUED = "diwan.letter.issued"
DECISION_ISSUED = "diwan.decision.issued"
CHANNEL = "portal"
DEMO_MODEL = "demo-rules"


class Correspondence:
    """`db` connects as diwan_worker."""

    def __init__(self, db: Database, keyring: Keyring, typeset: Typeset, clock: Clock) -> None:
        self._db = db
        self._keyring = keyring
        self._typeset = typeset
        self._clock = clock

    async def issue(self, step: StepRef) -> bool:
        """Issues the letter of this visit of a step, once. False where the case changed while it was being set."""
        cipher = await self._keyring.cipher(step.tenant, step.case)
        key = step_key(step.case, step.step, step.visit)
        code = await code_of_letter(self._keyring, step.tenant, key)
        now = self._clock()
        async with self._db.transaction(step.tenant) as conn:
            dossier = await read_dossier(conn, await cases.get_case(conn, step.tenant, step.case), cipher)
            if (dossier.case.state.step, dossier.case.state.visit) != (step.step, step.visit):
                return True  # done before, or the case went elsewhere
            if dossier.case.inbox_last > dossier.case.inbox_cursor:
                return True  # what came in may make this letter needless: the workflow takes it first
            declared = dossier.procedure.steps[step.step]
            assert isinstance(declared, ActStep)
            settings = TenantSettings.model_validate(await tenants.settings_of(conn, step.tenant))
            written = await letters.letters_of(conn, step.tenant, step.case, cipher)
            occasion = Occasion(settings, now, f"{dossier.case.number}/{len(written) + 1}", code)
            if declared.letter is LetterKind.DECISION:
                occasion = await _signed(conn, dossier, occasion)
        letter = compose(declared.letter, dossier, occasion)
        sealed = await seal(cipher, key, letter, self._typeset)
        async with (
            self._db.transaction(step.tenant) as conn,
            change_case(conn, step.tenant, step.case, now=now) as change,
        ):
            if change.case.version != dossier.case.version:
                change.unchanged()
                return False
            await _record(change, dossier, declared.letter, sealed, occasion, written)
        return True


async def code_of_letter(keyring: Keyring, tenant: str, key: str) -> str:
    """The short code of the letter with this id: always the same, and for nobody to guess who has not the vault."""
    return code_of(bytes.fromhex(await keyring.token(tenant, "letter.code", key)))


async def seal(cipher: Cipher, key: str, letter: Letter, typeset: Typeset) -> letters.SealedLetter:
    """A letter set and sealed, before anything is locked; `key` is that of what issues it, and the letter's id."""
    pdf = await typeset(letter)
    return letters.seal_letter(
        cipher,
        key,
        kind=letter.kind,
        language=letter.language.value,
        number=letter.number,
        template=template_version(),
        content=letter.model_dump(mode="json"),
        pdf=pdf,
        receipt=receipts.seal_receipt(cipher, key, facts_of(letter, pdf), secrets.token_bytes(SALT_BYTES)),
    )


async def send(
    change: Change, sealed: letters.SealedLetter, actor: Actor, written: Sequence[letters.LetterRow]
) -> dict[str, str | int | bool]:
    """Stores a letter, its receipt and its notification, and tells the tenant's webhooks of it; gives what the case's
    entry says of it. `written` are the letters of the case before it."""
    await letters.store_letter(change, sealed)
    said: dict[str, str | int | bool] = {"letter": sealed.id, "kind": sealed.kind, "number": sealed.number}
    if sealed.receipt is not None:
        await receipts.issue_receipt(change, actor, sealed.receipt)
        await follow(change, actor, sealed.kind, sealed.receipt.chain, written)
        said["receipt"] = sealed.receipt.chain
    await notifications.store_notification(change, sealed.id, channel=CHANNEL)
    await announce(change, LETTER_ISSUED, {"letter": sealed.id, "kind": sealed.kind})
    return {**said, "channel": CHANNEL}


async def _signed(conn: Connection, dossier: Dossier, occasion: Occasion) -> Occasion:
    """With the signature under the latest completed task to sign, and who had a part in the proposal."""
    tenant, case = dossier.case.tenant, dossier.case.id
    signed = [task for task in await tasks.tasks_of(conn, tenant, case) if task.kind is TaskKind.SIGN]
    event = await inbox.event_of(conn, tenant, inbox.TASK_SOURCE, signed[-1].id) if signed else None
    act = inbox.body_of(event, dossier.cipher) if event else {}
    if act.get("outcome") != APPROVED or dossier.proposal is None or act.get("proposal") != dossier.proposal_id:
        raise NeedsPerson("decision.unsigned", "A decision was to be issued that nobody signed.", "Return it.")
    signature = Signature(
        subject=str(act["by"]),
        delegation_id=str(act["delegation"]),
        delegation_reference=await delegations.reference_of(conn, tenant, str(act["delegation"])),
        signed_at=datetime.fromisoformat(str(act["at"])),
    )
    model = await runs.model_used(conn, tenant, case)
    return dataclasses.replace(
        occasion,
        signature=signature,
        model=model,
        rules_only=model == DEMO_MODEL,
        edited=bool(dossier.proposal.editors),
    )


async def _record(
    change: Change,
    dossier: Dossier,
    kind: LetterKind,
    sealed: letters.SealedLetter,
    occasion: Occasion,
    written: Sequence[letters.LetterRow],
) -> None:
    case = change.case
    before = change.state
    commitments = {"letter": sealed.address.encode()}
    actor = system(case.tenant, "worker")
    detail: dict[str, str | int | bool] = {}
    view = dossier.view
    if kind is LetterKind.DECISION:
        signature = occasion.signature
        assert signature is not None
        assert dossier.proposal is not None
        assert dossier.proposal.assessment.result is not None
        result = dossier.proposal.assessment.result
        commitments["decision"] = (
            await decisions.store_decision(
                change,
                result=result,
                proposal=dossier.proposal,
                signed_by=signature.subject,
                delegation_id=signature.delegation_id,
                signed_at=signature.signed_at,
                cipher=dossier.cipher,
            )
        ).encode()
        view = {**view, "result": result.value}
        detail = {"result": result.value, "signed_by": signature.subject, "delegation": signature.delegation_id}
        await announce(change, DECISION_ISSUED, {"result": result.value, "letter": sealed.id})
    detail |= await send(change, sealed, actor, written)
    move = after_step(dossier.procedure, before, DONE, view, change.now, dossier.calendar)
    await carry(change, dossier, move)
    change.record(
        "case:decision:issued" if kind is LetterKind.DECISION else "letter:letter:issued",
        actor,
        cipher=dossier.cipher,
        commitments=commitments,
        step=before.step,
        visit=before.visit,
        detail={**detail, "to": move.state.step},
    )
