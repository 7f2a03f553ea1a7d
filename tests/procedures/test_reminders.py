"""On which day a reminder goes out: by the case's own dates and the office's working days."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from diwan.domain.case import CaseState, PeriodState
from diwan.domain.errors import InvalidInput
from diwan.procedures import reminders
from diwan.procedures.flow import on_event
from tests.procedures.support import office, sample
from tests.procedures.test_flow import Case

BEFORE, AFTER = 0, 1  # the review's two reminders, both by `examination`


def days(state: CaseState) -> list[date | None]:
    """The days on which the reminders of the case's step go out."""
    return [office().day_of(each.due_at) if each.due_at else None for each in state.reminders]


def send(case: Case, at: datetime) -> int | None:
    """Sends what is due, as the service does; its place in the file."""
    place = reminders.due(case.move.state, at)
    if place is not None:
        case.move.state.reminders = reminders.sent(case.move.state, place, at)
    return place


def test_an_applicant_is_reminded_working_days_before_the_last_day() -> None:
    case = Case().to("await_pieces")
    period = case.move.state.periods["pieces"]
    assert period.due_on == date(2026, 12, 23), "a Wednesday"
    assert days(case.move.state) == [date(2026, 12, 16)], "the weekend between does not count"
    at = office().start_of(date(2026, 12, 16))
    assert case.move.state.reminders[0].due_at == at
    assert case.move.wake_at == at
    assert send(case, at - timedelta(seconds=1)) is None
    assert send(case, at) == 0
    assert send(case, at + timedelta(days=2)) is None, "once"
    assert reminders.wake_at(case.move.state) == period.due_at


def test_a_task_has_its_reminders_before_and_after_the_target() -> None:
    case = Case().to("review")
    target = case.move.state.periods["examination"].due_on
    assert target == date(2026, 12, 21), "a Monday"
    assert days(case.move.state) == [date(2026, 12, 16), date(2026, 12, 22)]
    # The target passes unmet; only what comes after it is still to be had.
    move = case.wakes(case.move.state.periods["examination"].due_at)
    assert move is not None
    assert move.state.flags == ["late.examination"]
    assert days(move.state) == [None, date(2026, 12, 22)]
    assert send(case, office().start_of(date(2026, 12, 22))) == AFTER


def test_who_is_asked_after_the_day_is_not_reminded_of_it() -> None:
    case = Case().to("examine")
    case.now = office().start_of(date(2026, 12, 16))
    assert days(case.ends("done").move.state) == [None, date(2026, 12, 22)]


def test_a_reminder_that_went_out_does_not_go_out_again_in_the_same_visit() -> None:
    case = Case().to("review")
    at = office().start_of(date(2026, 12, 16))
    assert send(case, at) == BEFORE
    move = case.wakes(case.move.state.periods["examination"].due_at)
    assert move is not None
    assert move.state.reminders[BEFORE].sent_at == at
    assert reminders.due(move.state, at + timedelta(days=300)) == AFTER


def test_no_reminder_while_its_period_stands_still_or_has_ended() -> None:
    stops = "    suspend: [{leave: request_letter}]\n    resume: [{leave: await_pieces}]\n    end: [{enter: decide}"
    told = (
        "    suspend: [{event: diwan.test.stops}]\n    resume: [{event: diwan.test.goes.on}]\n    end: [{enter: decide}"
    )
    procedure = sample((stops, told), (stops, told))
    case = Case(procedure).to("review")
    stopped = on_event(procedure, case.move.state, "diwan.test.stops", case.now, office())
    assert stopped is not None
    assert (days(stopped.state), stopped.wake_at) == ([None, None], None)
    later = case.now + timedelta(days=7)
    resumed = on_event(procedure, stopped.state, "diwan.test.goes.on", later, office())
    assert resumed is not None
    assert days(resumed.state) == [date(2026, 12, 23), date(2026, 12, 29)], "a week later, as the target"


def test_a_period_that_ended_otherwise_has_no_reminder_after_it() -> None:
    case = Case().to("review")
    state = case.move.state.model_copy(deep=True)
    state.periods["examination"].ended = True
    assert [each.due_at for each in reminders.scheduled(case.procedure, state, office())] == [None, None]


def test_the_next_step_has_reminders_of_its_own() -> None:
    case = Case().to("sign")
    assert len(case.move.state.reminders) == 1
    assert Case().to("decide").move.state.reminders == []


def test_a_state_of_an_earlier_version_reads_and_stands_on_the_ledger_as_it_was() -> None:
    """The ledger commits to this JSON: with a field more, every case of before would look tampered with."""
    period = {
        **{"started_on": "2026-11-23", "due_on": "2027-01-22", "due_at": "2027-01-22T23:00:00Z"},
        **{"suspended_on": None, "suspended_days": 0, "ended": False},
    }
    old = {
        **{"step": "review", "visit": 1, "visits": {"review": 1}, "flags": [], "pieces_requested": 0},
        **{"periods": {"decision": period}, "result": None, "return_to": ""},
    }
    state = CaseState.model_validate(old)
    assert state.model_dump(mode="json") == old
    assert PeriodState.model_validate(period).expired is False


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("      - {before: 5}\n", "      - {before: 30}\n", "steps.await_pieces.remind.0"),
        ("      - {before: 5}\n", "      - {before: 0}\n", "steps.await_pieces.remind.0.before"),
        ("period: examination, before: 3", "period: unheard_of, before: 3", "steps.review.remind.0.period"),
        ("period: examination, before: 3", "period: examination", "steps.review.remind.0"),
        ("period: examination, before: 3", "period: examination, before: 3, after: 3", "steps.review.remind.0"),
        (
            "      - {on: returned, to: examine}\n",
            "      - {on: returned, to: await_pieces}\n",
            "steps.await_pieces.remind",
        ),
    ],
)
def test_a_reminder_that_cannot_be_is_refused_by_its_line(old: str, new: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        sample((old, new))
    assert code in caught.value.message
