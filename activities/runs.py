"""The activities of an agent run but the model call: begin (read what came, ask the registers), tools, end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from temporalio import activity

from activities.briefing import read_brief
from activities.dossier import Dossier, read_cited_pages, read_dossier
from activities.heartbeat import heartbeats
from activities.models import with_a_host
from activities.moves import carry, plan_of
from activities.readings import Reading, read_documents
from activities.registers import Registers
from activities.tools import ToolDesk, ToolResult
from activities.transcript import read_request, read_transcript
from agents.conclude import Conclusion, conclude, declared_only
from agents.examiner import Examination
from agents.parse import RequestedCall
from agents.registry import spec_of
from diwan.documents.readers import Readers
from diwan.domain.actor import agent
from diwan.domain.case import Plan
from diwan.domain.decision import Proposal
from diwan.domain.errors import Conflict
from diwan.domain.facts import Fact, Provenance
from diwan.domain.ports import Cipher, Keyring
from diwan.domain.text import Language
from diwan.procedures.assess import assess
from diwan.procedures.flow import after_step
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import DONE, FAILED, AgentStep
from diwan.procedures.urgency import priority
from diwan.store import briefs, cases, documents, facts, proposals, runs, tenants, tool_calls
from diwan.store.change import Change, change_case, lock_ahead
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.temporal import model_queue
from workflows.calls import BEGIN_RUN, CALL_TOOL, END_RUN, RunEnd, RunStart, StepRef, ToolCall

Clock = Callable[[], datetime]

# Who proposes when no agent could: the procedure's rules, on what is declared.
RULES = "rules"

HIDDEN_TEXT = "hidden_text"
SHOWN_FLAGS = frozenset({HIDDEN_TEXT, "ocr_layer", "doubtful_numbers", "text_cut"})


@dataclass(frozen=True)
class RunSettings:
    """`models_of` names the models that may read a dossier of a procedure, best first; waits in seconds."""

    models_of: Callable[[Procedure, str, Language], Sequence[str]]
    patience_s: int = 120
    call_limit_s: int = 600
    host_wait_s: int = 10


class RunActivities:
    """`db` connects as diwan_worker."""

    def __init__(
        self,
        db: Database,
        keyring: Keyring,
        readers: Readers,
        registers: Registers,
        settings: RunSettings,
        clock: Clock,
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._readers = readers
        self._registers = registers
        self._settings = settings
        self._clock = clock

    @activity.defn(name=BEGIN_RUN.name)
    async def begin_run(self, step: StepRef) -> RunStart:
        """Reads the documents that were not read yet, asks the registers, opens the run; again: goes on from it."""
        async with heartbeats():
            return await self._begin(step)

    async def _begin(self, step: StepRef) -> RunStart:
        cipher = await self._keyring.cipher(step.tenant, step.case)
        async with self._db.transaction(step.tenant) as conn:
            dossier = await read_dossier(conn, await cases.get_case(conn, step.tenant, step.case), cipher)
        spec = spec_of(_agent_of(dossier, step))
        readings = await read_documents(self._db, self._readers, dossier)
        known = await self._registers.facts_for(dossier, self._clock())
        async with (
            self._db.transaction(step.tenant) as conn,
            change_case(conn, step.tenant, step.case, now=self._clock()) as change,
        ):
            if (change.state.step, change.state.visit) != (step.step, step.visit):
                raise Conflict("agent.step_left", "The case has left this step.", "Nothing is to be read any more.")
            run = await runs.start_run(change, step.step, step.visit, spec=spec.name, prompts=spec.prompts)
            if run.new:
                await _keep(change, dossier, readings, known)
                change.record(
                    "agent:run:started",
                    agent(step.tenant, spec.name),
                    cipher=cipher,
                    step=step.step,
                    visit=step.visit,
                    detail={
                        "spec": f"{spec.name}/{spec.version}",
                        "prompts": spec.prompts,
                        "documents": len(dossier.documents),
                        "read": len(readings),
                        "registers": len(known),
                    },
                )
            else:
                change.unchanged()
        async with self._db.transaction(step.tenant) as conn:
            transcript = await read_transcript(conn, step.tenant, spec, run.id, cipher)
            weight = await tenants.weight_of(conn, step.tenant)
            model = await with_a_host(conn, self._listed(dossier, spec.capability))
        return RunStart(
            run=run.id,
            spec=spec.name,
            queue=model_queue(model or f"none-{spec.capability}"),  # of nobody: people take over
            patience_s=self._settings.patience_s,
            call_limit_s=self._settings.call_limit_s,
            turns=transcript.turns,
            priority=priority(dossier.case.state.rises, self._clock()),
            weight=weight,
            host_wait_s=self._settings.host_wait_s,
        )

    def _listed(self, dossier: Dossier, capability: str) -> Sequence[str]:
        return self._settings.models_of(dossier.procedure, capability, Language(dossier.case.language))

    @activity.defn(name=CALL_TOOL.name)
    async def call_tool(self, given: ToolCall) -> bool:
        """Carries out one tool call, once; gives whether it worked."""
        cipher = await self._keyring.cipher(given.tenant, given.case)
        spec = spec_of(given.spec)
        async with self._db.transaction(given.tenant) as conn:
            briefs.ask_ahead(conn, given.tenant, given.case)
            request = await read_request(conn, given.tenant, spec, given.run, given.call, given.position, cipher)
            brief = await read_brief(conn, given.tenant, given.case, cipher)
            desk = ToolDesk(brief, self._registers, self._clock)
            if not desk.asks_a_register(request):
                # What was read above locks nothing; nothing but the page is waited for while the case is locked.
                wanted = desk.page_wanted(request)
                lock_ahead(conn, given.tenant, given.case)
                tool_calls.result_ahead(conn, given.tenant, given.run, given.call, given.position)
                page = await documents.page_of(conn, given.tenant, *wanted, cipher) if wanted else None
                return await self._keep_result(conn, given, request, await desk.carry_out(request, page), cipher)
        result = await desk.carry_out(request, None)
        async with self._db.transaction(given.tenant) as conn:
            return await self._keep_result(conn, given, request, result, cipher)

    async def _keep_result(
        self, conn: Connection, given: ToolCall, request: RequestedCall, result: ToolResult, cipher: Cipher
    ) -> bool:
        """Whether the stored result, which may be an earlier one, is one that worked."""
        async with change_case(conn, given.tenant, given.case, now=self._clock()) as change:
            stored = await tool_calls.store_tool_result(
                change,
                cipher,
                run=given.run,
                call=given.call,
                position=given.position,
                tool=given.tool,
                effect=result.effect,
                arguments=request.arguments,
                result=result.value,
                ok=result.ok,
            )
            if stored.new:
                change.record(
                    "agent:tool:called",
                    agent(given.tenant, given.spec),
                    cipher=cipher,
                    body={"arguments": dict(request.arguments), "result": result.value},
                    step=given.step,
                    visit=given.visit,
                    detail={"tool": given.tool, "call": given.call, "position": given.position, "ok": result.ok},
                )
            else:
                change.unchanged()
        return stored.ok

    @activity.defn(name=END_RUN.name)
    async def end_run(self, given: RunEnd) -> Plan:
        """Makes facts and a proposal of what the run came to, and moves the case on; given up: of what is declared."""
        cipher = await self._keyring.cipher(given.tenant, given.case)
        now = self._clock()
        async with (
            self._db.transaction(given.tenant) as conn,
            change_case(conn, given.tenant, given.case, now=now) as change,
        ):
            here = (change.state.step, change.state.visit) == (given.step, given.visit)
            if here:
                await self._conclude(change, await read_dossier(conn, change.case, cipher), given)
            else:
                change.unchanged()  # cancelled, or ended before: what it answered is stored and not used
        async with self._db.transaction(given.tenant) as conn:
            return plan_of(await cases.get_case(conn, given.tenant, given.case), self._clock())

    async def _conclude(self, change: Change, dossier: Dossier, given: RunEnd) -> None:
        spec = spec_of(given.spec)
        conclusion = await self._conclusion(change, dossier, given)
        of_case = (given.tenant, given.case)
        await facts.store_facts(
            *(change.conn, *of_case, conclusion.facts, dossier.cipher), version=change.version, now=change.now
        )
        for piece, document in conclusion.pieces.items():
            await documents.update_document(change.conn, given.tenant, document, piece=piece)
        dossier = await read_dossier(change.conn, change.case, dossier.cipher)
        proposal = propose(dossier, conclusion, proposer=RULES, failed=given.reason)
        made = await proposals.make_proposal(
            change.conn, given.tenant, given.case, proposal, dossier.cipher, now=change.now
        )
        await runs.end_run(
            change, given.run, status=runs.GAVE_UP if given.reason else runs.FINISHED, outcome=given.reason
        )
        dossier = await read_dossier(change.conn, change.case, dossier.cipher)
        outcome = FAILED if given.reason else DONE
        move = after_step(dossier.procedure, change.state, outcome, dossier.view, change.now, dossier.calendar)
        for warning in proposal.warnings:
            if warning not in move.state.flags:
                move.state.flags.append(warning)
        await carry(change, dossier, move)
        change.record(
            "agent:run:ended",
            agent(given.tenant, spec.name),
            cipher=dossier.cipher,
            body={"proposal": proposal.model_dump(mode="json")},
            commitments={"proposal": made.commitment.encode()},
            step=given.step,
            visit=given.visit,
            detail={
                "outcome": outcome,
                "reason": given.reason,
                "facts": len(conclusion.facts),
                "rejected_claims": len(conclusion.rejected),
                "proposed": proposal.assessment.result.value if proposal.assessment.result else "",
                "to": move.state.step,
            },
        )

    async def _conclusion(self, change: Change, dossier: Dossier, given: RunEnd) -> Conclusion:
        if given.reason:
            return declared_only(dossier.procedure, dossier.submitted())
        transcript = await read_transcript(change.conn, given.tenant, spec_of(given.spec), given.run, dossier.cipher)
        answer = transcript.answer
        assert isinstance(answer, Examination)
        return conclude(
            dossier.procedure,
            answer,
            dossier.submitted(),
            await read_cited_pages(change.conn, dossier, [claim.evidence for claim in answer.claims]),
            [fact for fact in dossier.facts if fact.by_person or fact.provenance is not Provenance.DOCUMENT],
            as_of=dossier.calendar.day_of(change.now),
            established_by=f"agent:{given.spec}",
        )


def propose(dossier: Dossier, conclusion: Conclusion, *, proposer: str, failed: str) -> Proposal:
    """What the rules make of the facts. The agent claims, the rules propose, a person approves.

    Of what agents read only this run's facts count: what an earlier one read and this one did not find is no longer
    established. Evidence in a document with hidden text is left to a person's eyes.
    """
    unseen = {row.id for row in dossier.documents if HIDDEN_TEXT in row.flags}
    read = [fact for fact in conclusion.facts if fact.evidence and fact.evidence.document not in unseen]
    facts = [fact for fact in dossier.facts if fact.by_person or fact.provenance is not Provenance.DOCUMENT] + read
    facts.sort(key=lambda fact: fact.name)
    # A piece of which only an unreadable document came was handed in, by its sender's word: a person reads it.
    came = {doc.piece: doc.id for doc in dossier.submitted() if doc.unreadable and doc.piece in conclusion.unreadable}
    pieces = {**came, **conclusion.pieces}
    assessment = assess(
        dossier.procedure,
        facts,
        pieces,
        conclusion.unreadable,
        pieces_requested=dossier.case.state.pieces_requested,
    )
    hidden = [fact.name for fact in conclusion.facts if fact not in read]
    by_person = {fact.name: fact.established_by for fact in facts if fact.by_person}
    warnings = [*conclusion.warnings, *_shown_flags(dossier)]
    if failed:
        warnings.append(f"agent_failed.{failed}")
    return Proposal(
        proposer=proposer,
        assessment=assessment,
        facts=facts,
        pieces=pieces,
        summary=conclusion.summary,
        warnings=list(dict.fromkeys(warnings)),
        rejected_claims=list(dict.fromkeys([*conclusion.rejected_claims, *hidden])),
        editors=list(dict.fromkeys(by_person.values())),
        changed_by=by_person,
    )


def _shown_flags(dossier: Dossier) -> list[str]:
    """What a person has to know of a document before relying on what was read in it: `FLAG.PIECE`."""
    return [
        f"{flag}.{row.piece or 'document'}" for row in dossier.documents for flag in row.flags if flag in SHOWN_FLAGS
    ]


async def _keep(change: Change, dossier: Dossier, readings: list[Reading], known: list[Fact]) -> None:
    case = dossier.case
    for reading in readings:
        await documents.update_document(
            change.conn,
            case.tenant,
            reading.document,
            status="unreadable" if reading.extraction.unreadable else None,
            pages=len(reading.extraction.pages),
            flags=sorted({*reading.flags, *reading.extraction.flags}),
        )
        await documents.store_pages(change.conn, case.tenant, case.id, reading.extraction.pages, dossier.cipher)
    await facts.store_facts(
        change.conn, case.tenant, case.id, known, dossier.cipher, version=change.version, now=change.now
    )
    change.brought(facts=len(known), pages=sum(len(reading.extraction.pages) for reading in readings))


def _agent_of(dossier: Dossier, step: StepRef) -> str:
    declared = dossier.procedure.steps[step.step]
    assert isinstance(declared, AgentStep)
    return declared.agent
