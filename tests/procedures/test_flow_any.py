"""What must hold on any way through any procedure that loads: there is always a next step, and dates only move on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from diwan.domain.case import CaseStatus, StepKind
from diwan.procedures import periods, reminders
from diwan.procedures.crosscheck import crosscheck
from diwan.procedures.findings import Findings
from diwan.procedures.flow import Move, after_step, on_event, on_time, open_case
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import ActStep, LetterKind, outcomes_of
from tests.procedures.support import NOW, office, sample

LOCAL = {"ar": "خطوة", "fr": "étape", "en": "step"}
NAMES = ["s0", "s1", "s2", "s3", "s4"]
EVENTS = ["diwan.pieces.supplied", "diwan.application.withdrawn", "diwan.notification.received"]
WHEN = st.sampled_from(["missing > 0", "visit < 3", "pieces_requested == 0", "result == 'granted' || unknown > 1"])
STATE_WHEN = st.sampled_from(["visit < 3", "pieces_requested == 0"])
TRIGGER = st.one_of(
    st.sampled_from([*NAMES, "end"]).map(lambda step: {"enter": step}),
    st.sampled_from(NAMES).map(lambda step: {"leave": step}),
    st.sampled_from(EVENTS).map(lambda event: {"event": event}),
)
TRIGGERS = st.lists(TRIGGER, max_size=2)


REMIND = [{"period": "legal", "before": 4}, {"period": "legal", "after": 1}, {"period": "target", "after": 2}]
KINDS: dict[str, dict[str, object]] = {
    "task": {"kind": "task", "task": "review", "roles": ["clerk"], "remind": REMIND},
    "wait": {"kind": "wait", "period": "awaited"},
    "agent": {"kind": "agent", "agent": "reader"},
    "request": {"kind": "act", "letter": "request_for_pieces"},
    "decide": {"kind": "act", "letter": "decision"},
}


@st.composite
def steps(draw: st.DrawFn) -> dict[str, object]:
    kinds = {name: draw(st.sampled_from([*KINDS, "task", "wait"])) for name in NAMES}
    attended = ["end", *(name for name in NAMES if kinds[name] in ("task", "wait"))]
    made: dict[str, object] = {"end": {"kind": "end", "label": LOCAL}}
    for name, kind in kinds.items():
        made[name] = {**KINDS[kind], "label": LOCAL, "next": draw(ways(kind, attended))}
        if kind == "wait":
            made[name]["events"] = draw(st.lists(st.sampled_from(EVENTS), min_size=1))  # type: ignore[index]
    return made


@st.composite
def ways(draw: st.DrawFn, kind: str, attended: list[str]) -> list[dict[str, str]]:
    anywhere = st.sampled_from([*NAMES, "end"] if kind in ("task", "wait") else attended)
    guards = STATE_WHEN if kind == "wait" else WHEN
    guarded = draw(st.lists(st.tuples(guards, anywhere), max_size=2))
    made = [{"when": when, "to": to} for when, to in guarded] + [{"to": draw(st.sampled_from(attended))}]
    for way in made:
        if way["to"] == "end" and kind != "decide":
            way["result"] = "no_further_action"
    return made


@st.composite
def some_periods(draw: st.DrawFn) -> dict[str, object]:
    basis = {"label": LOCAL, "legal_basis": LOCAL, "unit": "days", "length": draw(st.integers(1, 60))}
    opening = {"event": "diwan.application.submitted"}
    suspend = draw(TRIGGERS)
    return {
        "awaited": {**basis, "nature": "fatal", "on_expiry": draw(st.sampled_from(NAMES)), "end": draw(TRIGGERS)},
        "legal": {
            **basis,
            "nature": "fatal",
            "start": [opening, *draw(TRIGGERS)],
            "suspend": suspend,
            "resume": draw(st.lists(TRIGGER, min_size=1, max_size=3)) if suspend else [],
            "end": draw(TRIGGERS),
            "silence": {"text": LOCAL, "result": "implied_refusal"},
            "on_expiry": draw(st.sampled_from([*NAMES, "end"])),
        },
        "target": {**basis, "nature": "target", "start": [opening, *draw(TRIGGERS)]},
    }


@st.composite
def broken_in(draw: st.DrawFn) -> dict[str, object]:
    steps_ = st.lists(st.sampled_from(NAMES), max_size=3)
    return {"event": draw(st.sampled_from(EVENTS)), "to": draw(st.sampled_from(NAMES)), "not_at": draw(steps_)}


@st.composite
def procedures(draw: st.DrawFn) -> Procedure:
    data = sample().model_dump(mode="json", by_alias=True)
    data |= {"start": "s0", "steps": draw(steps()), "periods": draw(some_periods()), "on_event": [draw(broken_in())]}
    procedure = Procedure.model_validate(data)
    found = Findings()
    crosscheck(procedure, found)
    assume(not found.errors)
    return procedure


VIEWS = st.fixed_dictionaries(
    {
        "missing": st.integers(0, 2),
        "unreadable": st.integers(0, 2),
        "conflicts": st.integers(0, 2),
        "unknown": st.integers(0, 2),
        "undetermined": st.booleans(),
        "result": st.sampled_from(["granted", "refused"]),
    }
)
DOINGS = st.lists(st.tuples(st.sampled_from(["end", "event", "time", "sleep"]), st.integers(0, 9), VIEWS), max_size=25)


@given(procedures(), DOINGS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_any_procedure_that_loads_always_knows_what_comes_next(
    procedure: Procedure, doings: list[tuple[str, int, dict[str, object]]]
) -> None:
    walk(procedure, doings)


@given(DOINGS)
@settings(max_examples=120, deadline=None)
def test_the_sample_always_knows_what_comes_next(doings: list[tuple[str, int, dict[str, object]]]) -> None:
    walk(sample(), doings)


def walk(procedure: Procedure, doings: list[tuple[str, int, dict[str, object]]]) -> None:
    calendar, now = office(), NOW
    move = open_case(procedure, now, calendar)
    requests = 0
    for doing, number, view in doings:
        state, step = move.state, procedure.steps[move.state.step]
        sound(procedure, move)
        if move.kind is StepKind.END:
            assert on_event(procedure, state, EVENTS[number % 3], now, calendar) is None
            assert on_time(procedure, state, now + timedelta(days=999), calendar) is None
            break
        if doing == "sleep":
            now += timedelta(days=number)
        moved = move
        if doing == "end":
            outcome = outcomes_of(step)[number % len(outcomes_of(step))]
            if procedure.steps[state.step].kind is StepKind.WAIT:
                continue  # waits end by events and dates
            moved = after_step(procedure, state, outcome, view, now, calendar)
            assert moved == after_step(procedure, state, outcome, view, now, calendar)
            requests += isinstance(step, ActStep) and step.letter is LetterKind.REQUEST_FOR_PIECES
        elif doing == "event":
            moved = on_event(procedure, state, EVENTS[number % 3], now, calendar) or move
        elif doing == "time":
            moved = on_time(procedure, state, now, calendar) or move
        resumed_only_later(move, moved)
        move = moved
        # whatever fell due is worked off in finitely many moves, one period or reminder each
        for _ in range(50):
            wake_at = reminders.wake_at(move.state)
            if wake_at is None or wake_at > now:
                break
            woken = on_time(procedure, move.state, now, calendar) or reminded(move, now)
            assert woken is not None, "a date fell due and nothing moved"
            move = woken
        else:
            raise AssertionError("dates never stop moving the case")
    assert requests <= 1
    assert move.state.pieces_requested == requests


def reminded(move: Move, now: datetime) -> Move | None:
    place = reminders.due(move.state, now)
    if place is None:
        return None
    state = move.state.model_copy(update={"reminders": reminders.sent(move.state, place, now)})
    return replace(move, state=state)


def sound(procedure: Procedure, move: Move) -> None:
    state = move.state
    running = [period.due_at for period in state.periods.values() if periods.running(period)]
    assert move.due_at == min(running, default=None)
    assert len(state.reminders) == len(getattr(procedure.steps[state.step], "remind", []))
    assert state.entered_on is not None
    for reminder in state.reminders:
        assert reminder.due_at is None or office().day_of(reminder.due_at) > state.entered_on
    assert state.visit == state.visits[state.step] >= 1
    assert move.kind is procedure.steps[state.step].kind
    if move.kind is StepKind.END:
        assert move.status is CaseStatus.CLOSED
        assert state.result is not None
        assert move.wake_at is None
    if move.kind is StepKind.WAIT:
        assert move.wake_at is not None, "nothing would ever wake this case"


def resumed_only_later(before: Move, after: Move) -> None:
    for name, period in before.state.periods.items():
        again = after.state.periods[name]
        if again.started_on == period.started_on and not again.ended:
            assert again.due_on >= period.due_on
