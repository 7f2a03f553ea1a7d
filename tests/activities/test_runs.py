"""An agent run's activities: one run a visit, nothing after the case left it, and only evidence that people can see."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date

import pytest

from activities.briefing import read_brief
from activities.runs import RULES, propose
from activities.tools import ToolDesk, same_number
from agents.conclude import Conclusion
from agents.loop import ToolRequest
from agents.parse import RequestedCall
from agents.tools import EARLIER_AID, READ_PAGE
from diwan.domain.errors import Conflict, Tampered
from diwan.domain.event import APPLICATION_WITHDRAWN, PIECES_SUPPLIED
from diwan.domain.facts import Evidence, Fact, Provenance
from diwan.domain.task import TaskAct
from diwan.store.exchange import Answer, Command, Line
from tests.activities.office import PIECES, Office, Wire
from tests.support.factories import CLERK, TENANT

PROMISE = PIECES["sale_promise"]


def of_document(name: str, value: bool | int, document: str) -> Fact:
    return Fact(
        name=name,
        value=value,
        provenance=Provenance.DOCUMENT,
        as_of=date(2026, 11, 23),
        established_by="agent:dossier-examiner",
        evidence=Evidence(document=document, page=1, quote="première vente"),
    )


def held(facts: list[Fact], provenance: Provenance = Provenance.DOCUMENT) -> set[str]:
    return {fact.name for fact in facts if fact.provenance is provenance}


async def test_a_run_begun_twice_is_one_run_and_goes_on_from_what_is_on_record(office: Office) -> None:
    step, run = await office.examining("begun-twice")
    async with office.engine(Wire(None)) as model:
        turn = await office.ask(model, step, run, 1, final=False)
    again = await office.begin(step)
    assert again == run.model_copy(update={"turns": [turn]})
    assert len(await office.entries(step.case, "agent:run:started")) == 1
    assert len(office.stored("select id from agent_run where case_id = %s", step.case)) == 1


async def test_a_call_says_how_long_it_was_in_its_queue(office: Office) -> None:
    step, run = await office.examining("queued")
    async with office.engine(Wire(None)) as model:
        first = await office.ask(model, step, run, 1, final=False, waited_s=12.34)
        assert first.waited_s == 12.3
        again = await office.ask(model, step, run, 1, final=False, waited_s=0.0)
        assert again == first.model_copy(update={"waited_s": 0.0})


async def test_what_was_read_once_is_not_read_again(office: Office) -> None:
    step, run = await office.examining("read-once")
    await office.end(step, run, "engine_unavailable")
    await office.tell(step.case, PIECES_SUPPLIED, {"sale_promise": PROMISE})
    await office.drain(step.case)
    await office.begin(await office.here(step.case))
    first, second = await office.entries(step.case, "agent:run:started")
    assert b'"read":4' in first.header
    assert b'"read":1' in second.header


async def test_a_run_of_a_step_that_the_case_left_begins_nothing(office: Office) -> None:
    case = await office.open("left")
    await office.perform(await office.here(case))
    step = await office.here(case)
    await office.tell(case, APPLICATION_WITHDRAWN)
    await office.drain(case)
    before = await office.row(case)
    with pytest.raises(Conflict) as refused:
        await office.begin(step)
    assert refused.value.code == "agent.step_left"
    assert await office.row(case) == before
    assert office.stored("select id from agent_run where case_id = %s", case) == []
    assert office.stored("select document_id from page where case_id = %s", case) == []


async def test_a_run_that_ends_after_the_case_moved_changes_nothing(office: Office) -> None:
    step, run = await office.examining("moved")
    await office.tell(step.case, APPLICATION_WITHDRAWN)
    assert (await office.drain(step.case)).step == "withdrawal"
    before = await office.row(step.case)
    assert (await office.end(step, run, "engine_unavailable")).step == "withdrawal"
    assert await office.row(step.case) == before
    assert (await office.dossier(step.case)).proposal is None
    assert office.stored("select status from agent_run where id = %s", run.run) == [("cancelled",)]


async def test_a_run_ended_twice_ends_once(office: Office) -> None:
    step, run = await office.examining("ended-twice")
    first = await office.end(step, run, "engine_unavailable")
    assert await office.end(step, run, "engine_unavailable") == first
    assert len(await office.entries(step.case, "agent:run:ended")) == 1
    assert len(office.stored("select id from proposal where case_id = %s", step.case)) == 1


async def test_a_tool_called_twice_gives_its_first_result(office: Office) -> None:
    step, run = await office.examining("tool-twice")
    async with office.engine(Wire(None)) as model:
        turn = await office.ask(model, step, run, 1, final=False)
    request = turn.runnable[0]
    for _ in range(2):
        assert await office.tool(step, run, 1, request.position, request.tool) is True
    assert len(await office.entries(step.case, "agent:tool:called")) == 1


async def test_a_step_waits_for_the_database_seven_times(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times for a model call, three for a tool call, where each wait is a way to another host and back."""
    step, run = await office.examining("messages")
    sent: list[Sequence[Command]] = []
    exchange = Line.exchange

    async def counted(line: Line, commands: Sequence[Command]) -> list[Answer]:
        sent.append(commands)
        return await exchange(line, commands)

    async with office.engine(Wire(None)) as model:
        turn = await office.ask(model, step, run, 1, final=False)
        for request in turn.runnable:  # what is in memory after a first step is not asked for again
            await office.tool(step, run, 1, request.position, request.tool)
        monkeypatch.setattr(Line, "exchange", counted)
        turn = await office.ask(model, step, run, 2, final=False)
        assert len(sent) == 4
        request = turn.runnable[0]
        await office.tool(step, run, 2, request.position, request.tool)
        assert request.tool == READ_PAGE.name
        assert len(sent) == 7


async def test_a_tool_opens_the_page_that_is_asked_for_and_no_other(office: Office) -> None:
    """A dossier may have thousands: what a call costs must not grow with them."""
    step, run = await office.examining("one-page")
    async with office.engine(Wire(None)) as model:
        call, wanted = 0, list[ToolRequest]()
        while not wanted:
            call += 1
            turn = await office.ask(model, step, run, call, final=False)
            wanted = [request for request in turn.runnable if request.tool == READ_PAGE.name]
            for request in turn.runnable if not wanted else ():
                await office.tool(step, run, call, request.position, request.tool)
    first, second, *_ = wanted
    with office.database.superuser() as superuser:
        superuser.execute("set session_replication_role = replica")  # past the guards, as a damaged disk is
        superuser.execute(
            "update page set text_sealed = 'damaged' where case_id = %s and document_id <> "
            "(select id from document where case_id = %s order by received_at, id limit 1)",
            [step.case, step.case],
        )
    assert await office.tool(step, run, call, first.position, first.tool) is True
    with pytest.raises(Tampered):
        await office.tool(step, run, call, second.position, second.tool)


# --- what counts -----------------------------------------------------------------------------------------------------


async def test_what_an_earlier_run_read_and_this_one_did_not_find_no_longer_counts(office: Office) -> None:
    case = await office.reviewed("no-longer")
    dossier = await office.dossier(case)
    assert "first_sale" in held(dossier.facts)
    found = [fact for fact in dossier.facts if fact.provenance is Provenance.DOCUMENT and fact.name != "first_sale"]
    assert dossier.proposal is not None
    conclusion = Conclusion(facts=found, pieces=dossier.proposal.pieces, unreadable=[], warnings=[])
    proposal = propose(dossier, conclusion, proposer=RULES, failed="")
    assert held(proposal.facts) == held(found)
    assert proposal.assessment.result is None
    assert proposal.assessment.unknown == ["first_sale"]
    assert "earlier_aid" in held(proposal.facts, Provenance.REGISTRY)


async def test_an_agent_that_fails_the_second_time_leaves_nothing_of_the_first(office: Office) -> None:
    case = await office.reviewed("failed-second")
    await office.act(CLERK, case, TaskAct.RETURN, reason="À relire")
    await office.drain(case)
    step = await office.here(case)
    assert (step.step, step.visit) == ("examine", 2)
    run = await office.begin(step)
    await office.end(step, run, "engine_unavailable")
    proposal = (await office.dossier(case)).proposal
    assert proposal is not None
    assert held(proposal.facts) == set()
    assert "agent_failed.engine_unavailable" in proposal.warnings


async def test_what_a_person_established_outlives_the_next_run(office: Office) -> None:
    case = await office.reviewed("by-person")
    dossier = await office.dossier(case)
    seen = of_document("first_sale", True, dossier.documents[0].id).model_copy(
        update={"by_person": True, "established_by": CLERK.subject, "evidence": None}
    )
    dossier = dataclasses.replace(dossier, facts=[seen])
    proposal = propose(dossier, Conclusion(pieces={}, unreadable=[], warnings=[]), proposer=RULES, failed="")
    assert proposal.facts == [seen]
    assert proposal.editors == [CLERK.subject]


# Letters as Unicode tags: no person sees them.
HIDDEN = "".join(chr(0xE0000 + ord(letter)) for letter in "prix") + "\n"


async def test_evidence_in_a_document_with_hidden_text_is_left_to_a_person(office: Office) -> None:
    case = await office.open("hidden", {**PIECES, "sale_promise": PROMISE + HIDDEN})
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    dossier = await office.dossier(case)
    (promise,) = [row for row in dossier.documents if row.piece == "sale_promise"]
    assert "hidden_text" in promise.flags
    proposal = dossier.proposal
    assert proposal is not None
    assert "hidden_text.sale_promise" in proposal.warnings
    assert {"first_sale", "price"} <= set(proposal.rejected_claims)
    assert not {"first_sale", "price"} & held(proposal.facts)
    assert "national" in held(proposal.facts)  # the other documents count as ever
    assert "first_sale" in proposal.assessment.unknown


async def test_a_piece_that_came_unreadable_was_handed_in(office: Office) -> None:
    case = await office.reviewed("unreadable")
    dossier = await office.dossier(case)
    rows = [
        dataclasses.replace(row, status="unreadable") if row.piece == "sale_promise" else row
        for row in dossier.documents
    ]
    dossier = dataclasses.replace(dossier, documents=rows)
    conclusion = Conclusion(pieces={}, unreadable=["sale_promise"], warnings=[])
    proposal = propose(dossier, conclusion, proposer=RULES, failed="")
    (promise,) = [row.id for row in rows if row.piece == "sale_promise"]
    assert proposal.pieces == {"sale_promise": promise}
    assert "sale_promise" not in proposal.assessment.missing_pieces


# --- tools -----------------------------------------------------------------------------------------------------------


async def looked_up(office: Office, case: str, number: str) -> object:
    cipher = await office.keyring.cipher(TENANT, case)
    async with office.worker.transaction(TENANT) as conn:
        brief = await read_brief(conn, TENANT, case, cipher)
    desk = ToolDesk(brief, office.registers, office.clock)
    request = ToolRequest(position=0, tool=EARLIER_AID.name)
    call = RequestedCall(request, EARLIER_AID.wire_name, {"identity_number": number})
    return (await desk.carry_out(call, None)).value


async def test_the_register_is_asked_of_the_applicant_only(office: Office) -> None:
    case = await office.open("register")
    assert await looked_up(office, case, "ZZ999999") == {"error": "not_of_this_case"}
    assert await looked_up(office, case, "zz 100-001") == {
        "found": False,
        "register": "registry.earlier_aid",
        "as_of": "2026-11-23",
    }


async def test_without_a_declared_number_nobody_is_looked_up(office: Office) -> None:
    case = await office.open("no-number", answers={"price": 290_000})
    assert await looked_up(office, case, "ZZ100001") == {"error": "not_of_this_case"}
    assert not same_number("", "")
    assert not same_number("--", " ")
