"""Issues the letter of a step: set outside any lock, then recorded with notification and decision in one go."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import datetime

from activities.dossier import Dossier, read_dossier
from activities.letters import Letter, Occasion, Signature, compose
from activities.moves import announce, carry
from diwan.documents.typeset import template_version
from diwan.domain.actor import system
from diwan.domain.case import step_key
from diwan.domain.errors import NeedsPerson
from diwan.domain.ports import Cipher, Keyring
from diwan.domain.task import TaskKind
from diwan.domain.tenant import TenantSettings
from diwan.procedures.flow import after_step
from diwan.procedures.steps import APPROVED, DONE, ActStep, LetterKind
from diwan.store import cases, decisions, delegations, inbox, letters, notifications, runs, tasks, tenants
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
            count = len(await letters.letters_of(conn, step.tenant, step.case, cipher))
            occasion = Occasion(settings, now, f"{dossier.case.number}/{count + 1}")
            if declared.letter is LetterKind.DECISION:
                occasion = await _signed(conn, dossier, occasion)
        letter = compose(declared.letter, dossier, occasion)
        sealed = await seal(cipher, step_key(step.case, step.step, step.visit), letter, self._typeset)
        async with (
            self._db.transaction(step.tenant) as conn,
            change_case(conn, step.tenant, step.case, now=now) as change,
        ):
            if change.case.version != dossier.case.version:
                change.unchanged()
                return False
            await _record(change, dossier, declared.letter, sealed, occasion)
        return True


async def seal(cipher: Cipher, key: str, letter: Letter, typeset: Typeset) -> letters.SealedLetter:
    """A letter set and sealed, before anything is locked; `key` is that of what issues it, and the letter's id."""
    return letters.seal_letter(
        cipher,
        key,
        kind=letter.kind,
        language=letter.language.value,
        number=letter.number,
        template=template_version(),
        content=letter.model_dump(mode="json"),
        pdf=await typeset(letter),
    )


async def send(change: Change, sealed: letters.SealedLetter) -> None:
    """Stores a letter and its notification, and tells the tenant's webhooks of it."""
    await letters.store_letter(change, sealed)
    await notifications.store_notification(change, sealed.id, channel=CHANNEL)
    await announce(change, LETTER_ISSUED, {"letter": sealed.id, "kind": sealed.kind})


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
    change: Change, dossier: Dossier, kind: LetterKind, sealed: letters.SealedLetter, occasion: Occasion
) -> None:
    case = change.case
    before = change.state
    commitments = {"letter": sealed.address.encode()}
    detail: dict[str, str | int | bool] = {"letter": sealed.id, "kind": sealed.kind, "number": sealed.number}
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
        detail |= {"result": result.value, "signed_by": signature.subject, "delegation": signature.delegation_id}
        await announce(change, DECISION_ISSUED, {"result": result.value, "letter": sealed.id})
    await send(change, sealed)
    move = after_step(dossier.procedure, before, DONE, view, change.now, dossier.calendar)
    await carry(change, dossier, move)
    change.record(
        "case:decision:issued" if kind is LetterKind.DECISION else "letter:letter:issued",
        system(case.tenant, "worker"),
        cipher=dossier.cipher,
        commitments=commitments,
        step=before.step,
        visit=before.visit,
        detail={**detail, "channel": CHANNEL, "to": move.state.step},
    )
