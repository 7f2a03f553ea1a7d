"""The way of a case through the shipped procedure, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from diwan.domain.case import CaseState, CaseStatus, Result, StepKind
from diwan.domain.errors import Conflict, InvalidInput
from diwan.domain.event import APPLICATION_WITHDRAWN, NOTIFICATION_RECEIVED, PIECES_SUPPLIED
from diwan.procedures.flow import Move, after_step, on_event, on_time, open_case
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import WaitStep
from tests.procedures.support import NOW, office, sample

COMPLETE: Mapping[str, object] = {
    "missing": 0,
    "unreadable": 0,
    "conflicts": 0,
    "unknown": 0,
    "undetermined": False,
    "result": "granted",
}
LACKING = {**COMPLETE, "missing": 1, "undetermined": True, "result": ""}


class Case:
    """A case that a test drives step by step."""

    def __init__(self, procedure: Procedure | None = None) -> None:
        self.procedure = procedure or sample()
        self.now = NOW
        self.move = open_case(self.procedure, NOW, office())

    def ends(self, outcome: str, view: Mapping[str, object] = COMPLETE) -> Case:
        self.now += timedelta(hours=1)
        self.move = after_step(self.procedure, self.move.state, outcome, view, self.now, office())
        return self

    def hears(self, event: str) -> Move | None:
        move = on_event(self.procedure, self.move.state, event, self.now, office())
        self.move = move or self.move
        return move

    def wakes(self, at: datetime) -> Move | None:
        self.now = at
        move = on_time(self.procedure, self.move.state, at, office())
        self.move = move or self.move
        return move

    @property
    def step(self) -> str:
        return self.move.state.step

    def to(self, step: str) -> Case:
        """Along the usual way to `step`."""
        view = LACKING if step in ("request_review", "request_letter", "await_pieces") else COMPLETE
        while self.step != step:
            current = self.procedure.steps[self.step]
            if isinstance(current, WaitStep):
                self.hears(current.events[0])
            else:
                self.ends("approved" if current.kind is StepKind.TASK else "done", view)
        return self


def test_the_usual_way() -> None:
    case = Case()
    seen = [(case.step, case.move.kind)]
    for outcome in ("done", "done", "approved", "approved", "done"):
        case.ends(outcome)
        seen.append((case.step, case.move.kind))
    assert seen == [
        ("receipt", StepKind.ACT),
        ("examine", StepKind.AGENT),
        ("review", StepKind.TASK),
        ("sign", StepKind.TASK),
        ("decide", StepKind.ACT),
        ("closed", StepKind.END),
    ]
    assert case.move.status is CaseStatus.CLOSED
    assert case.move.state.result is Result.GRANTED
    assert case.move.wake_at is None
    assert all(period.ended for period in case.move.state.periods.values())


def test_pieces_are_asked_for_awaited_and_read() -> None:
    case = Case().to("request_review").ends("approved", LACKING)
    assert case.step == "request_letter"
    assert case.move.status is CaseStatus.OPEN
    case.ends("done", LACKING)
    assert (case.step, case.move.kind, case.move.status) == ("await_pieces", StepKind.WAIT, CaseStatus.SUSPENDED)
    assert case.move.state.pieces_requested == 1
    assert case.move.due_at == case.move.state.periods["pieces"].due_at
    case.now += timedelta(days=7)
    move = case.hears(PIECES_SUPPLIED)
    assert move is not None
    assert (case.step, move.state.visit, move.status) == ("examine", 2, CaseStatus.OPEN)
    assert move.state.periods["decision"].suspended_days == 7
    assert move.state.periods["pieces"].ended
    assert case.ends("done", LACKING).step == "review"


def test_pieces_that_never_come_do_not_hold_the_case() -> None:
    case = Case().to("await_pieces")
    due = case.move.state.periods["pieces"].due_at
    assert case.wakes(due - timedelta(seconds=1)) is None
    move = case.wakes(due)
    assert move is not None
    assert (case.step, move.state.visit, move.state.pieces_requested) == ("examine", 2, 1)
    assert case.ends("done", LACKING).step == "review"


def test_the_last_day_belongs_to_the_applicant() -> None:
    case = Case().to("await_pieces")
    period = case.move.state.periods["pieces"]
    assert office().day_of(period.due_at - timedelta(seconds=1)) == period.due_on
    assert case.wakes(period.due_at - timedelta(seconds=1)) is None


def test_an_edit_that_completes_the_dossier_sends_no_letter() -> None:
    assert Case().to("request_review").ends("approved", COMPLETE).step == "review"
    assert Case().to("request_review").ends("edited", COMPLETE).step == "review"
    assert Case().to("request_review").ends("rejected", LACKING).step == "review"


def test_pieces_are_never_asked_for_twice_whatever_the_file_says() -> None:
    case = Case().to("await_pieces")
    case.hears(PIECES_SUPPLIED)
    asking = case.move.state.model_copy(update={"step": "request_review"})
    again = after_step(case.procedure, asking, "approved", LACKING, case.now, office())
    assert again.state.step == "review"


def test_a_reviewer_who_finds_a_piece_wanting_can_still_have_it_asked_for() -> None:
    assert Case().to("review").ends("returned", LACKING).step == "request_review"
    assert Case().to("review").ends("returned", COMPLETE).step == "examine"


def test_an_agent_that_fails_leaves_the_case_to_people() -> None:
    case = Case().ends("done").ends("failed")
    assert case.step == "review"


def test_signing_can_send_it_back() -> None:
    case = Case().to("sign").ends("returned")
    assert (case.step, case.move.state.visit) == ("review", 2)
    assert Case().to("sign").ends("rejected").step == "review"


@pytest.mark.parametrize(
    "step", ["receipt", "examine", "request_review", "request_letter", "await_pieces", "review", "sign"]
)
def test_an_application_can_be_withdrawn_until_the_decision(step: str) -> None:
    case = Case().to(step)
    move = case.hears(APPLICATION_WITHDRAWN)
    assert move is not None
    assert (case.step, move.kind, move.cancel_tasks) == ("withdrawal", StepKind.ACT, True)
    assert move.wake_at is None
    assert case.hears(APPLICATION_WITHDRAWN) is None
    case.ends("done")
    assert (case.step, case.move.state.result) == ("closed", Result.WITHDRAWN)


@pytest.mark.parametrize("step", ["decide", "closed"])
def test_a_decision_cannot_be_withdrawn(step: str) -> None:
    case = Case().to(step)
    assert case.hears(APPLICATION_WITHDRAWN) is None
    assert case.step == step


def test_pieces_that_come_unasked_are_read_first() -> None:
    for step in ("examine", "request_review", "request_letter", "review", "sign"):
        case = Case().to(step)
        visits = case.move.state.visits.get("examine", 0)
        move = case.hears(PIECES_SUPPLIED)
        assert move is not None
        assert (case.step, move.state.visit) == ("examine", visits + 1)
        assert move.state.pieces_requested == 0
        assert move.status is CaseStatus.OPEN
    assert Case().to("decide").hears(PIECES_SUPPLIED) is None


def test_a_letter_that_was_broken_off_was_not_sent() -> None:
    """The period runs on, and the one request is still to be had."""
    case = Case().to("request_letter")
    case.hears(PIECES_SUPPLIED)
    assert case.move.state.periods["decision"].suspended_on is None
    assert "pieces" not in case.move.state.periods
    assert case.ends("done", LACKING).step == "request_review"


def test_what_nobody_awaits_moves_nothing() -> None:
    assert Case().hears(NOTIFICATION_RECEIVED) is None
    for stranger in ("diwan.unheard.of", "Com.Example-Co/x y", "", "x" * 500, "نص"):
        assert Case().to("review").hears(stranger) is None


def test_silence_decides_when_the_legal_period_ends() -> None:
    case = Case().to("review")
    due = case.move.state.periods["decision"].due_at
    late = case.wakes(due)  # the service target fell due first, and only leaves a mark
    assert late is not None
    assert (case.step, late.state.flags, late.cancel_tasks) == ("review", ["late.examination"], False)
    assert late.due_at == due
    move = case.wakes(due)
    assert move is not None
    assert (case.step, move.state.result, move.cancel_tasks) == ("closed", Result.IMPLIED_REFUSAL, True)
    assert move.status is CaseStatus.CLOSED


def test_a_signed_decision_outlives_the_period() -> None:
    case = Case().to("decide")
    assert case.move.wake_at is None
    assert case.wakes(NOW + timedelta(days=400)) is None


def test_a_period_under_way_is_not_begun_anew() -> None:
    start = "    start: [{event: diwan.application.submitted}]\n    suspend"
    procedure = sample((start, start.replace("}]", "}, {enter: review}]")))
    case = Case(procedure).ends("done")
    due = case.move.state.periods["decision"].due_on
    case.now += timedelta(days=5)
    assert case.ends("done").move.state.periods["decision"].due_on == due


def test_nothing_runs_on_in_a_closed_case() -> None:
    endings = "    end: [{enter: decide}, {enter: withdrawal}]\n"
    case = Case(sample((endings, ""), (endings, ""))).to("closed")
    assert case.move.wake_at is None
    assert all(period.ended for period in case.move.state.periods.values())


def test_the_legal_period_is_sixty_days_to_a_working_day() -> None:
    assert Case().move.state.periods["decision"].due_on == date(2027, 1, 22)


def test_a_step_refuses_what_it_cannot_end_with() -> None:
    with pytest.raises(InvalidInput):
        Case().ends("approved")
    with pytest.raises(InvalidInput) as error:
        Case().ends("done").ends("done", {})
    assert error.value.code == "step.view_incomplete"
    with pytest.raises(InvalidInput):
        Case().to("decide").ends("done", {"result": ""})
    with pytest.raises(Conflict):
        Case().to("closed").ends("done")
    with pytest.raises(InvalidInput):
        after_step(sample(), CaseState(step="gone"), "done", {}, NOW, office())


def test_a_move_changes_nothing_that_it_was_given() -> None:
    case = Case().to("await_pieces")
    before = case.move.state.model_copy(deep=True)
    given_state = case.move.state
    case.hears(PIECES_SUPPLIED)
    assert given_state == before


def test_states_survive_json() -> None:
    state = Case().to("await_pieces").move.state
    assert CaseState.model_validate_json(state.model_dump_json()) == state


def test_every_step_of_the_sample_has_a_way_to_the_end() -> None:
    """Not only in the graph: by walking it with the outcomes that lead on."""
    for step in sample().steps:
        if step == "withdrawal":
            case = Case()
            case.hears(APPLICATION_WITHDRAWN)
        else:
            case = Case().to(step)
        assert case.to("closed").move.state.result is not None


def test_time_of_day_does_not_matter_to_days() -> None:
    for hour in (0, 12, 22):
        now = datetime(2026, 11, 23, hour, 30, tzinfo=UTC)
        assert open_case(sample(), now, office()).state.periods["decision"].started_on == date(2026, 11, 23)
