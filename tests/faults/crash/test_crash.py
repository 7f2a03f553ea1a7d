"""A process dies right before and right after each commit in the life of an event, and nothing is lost or doubled.

One stack serves all: its stories (stories.py) go on together, and each fault point (points.py) ends the process that
first comes by it, once. So every commit that the stories pass is met twice by a death, and a commit that is new in the
code by two more. At the end the checker, which shares no code with the service, looks at what is left.
"""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.faults.checker import check
from tests.faults.crash.conftest import mined_office
from tests.faults.crash.people import PATIENCE_S, PatientOffice
from tests.faults.crash.points import AFTER, BEFORE, Sprung
from tests.faults.crash.stories import STORIES, Story, blocked
from tests.faults.evidence import Report

pytestmark = pytest.mark.timeout(2400)

ROOT = Path(__file__).resolve().parents[3]

# What the stories must pass at least: place in the code → what is written there. More than these may be found.
COMMITS = {
    "web": {
        "acts.act_on_task": {*(f"task:act:recorded {act}" for act in ("claim", "release", "approve", "edit", "reject"))}
        | {"task:act:recorded return"},
        "acts._assigned": {"task:act:recorded edit, event:event:assigned"},
        "intake._follow_up": {f"event:{what}:accepted" for what in ("pieces", "withdrawal", "notification")},
        "stray_events.keep": {"event:pieces:accepted"},
        "intake_opening.open_case_by": {"event:application:accepted", "event:application:repeated"},
        "refusals.record_refusal": {
            "event:event:refused event.id_used",
            "event:event:refused event.reference_used",
            "task:act:refused task.role_missing",
        },
        "intake.upload_document": {""},
        "procedures.post": {"procedure:version:published"},
        "reruns._asked": {"call:rerun:asked"},
        "bundles.give": {"ledger:bundle:exported"},
        "erasures.list_": {"audit:list:read"},
        "erasures._changed": {
            *(f"case:erasure:{what}" for what in ("asked", "approved", "declined")),
            *("case:hold:placed", "case:hold:lifted"),
        },
    },
    "worker": {
        "casework.CaseActivities._take_next": {
            f"event:event:consumed diwan.{type_}"
            for type_ in (
                *("application.submitted", "application.withdrawn", "pieces.supplied", "notification.received"),
                "task.completed",
            )
        },
        "casework.CaseActivities._next_date": {"case:period:expired"},
        "casework.CaseActivities.block_case": {"case:case:blocked"},
        "correspondence.Correspondence.issue": {
            *(f"letter:letter:issued {kind}" for kind in ("receipt", "request_for_pieces", "withdrawal")),
            "case:decision:issued",
        },
        "reminders.Reminders.send_next": {"letter:letter:issued reminder", "task:reminder:sent"},
        "runs.RunActivities._begin": {"agent:run:started"},
        "runs.RunActivities.call_tool": {"agent:tool:called"},
        "runs.RunActivities.end_run": {"agent:run:ended"},
        "reruns.Reruns.end_rerun": {"call:rerun:ended"},
        "erasing.Erasures._start": {"case:erasure:started"},
        "erasing.Erasures._finish": {"case:keys:destroyed"},
        "erasing.WithoutCase._begin": {"scope:erasure:started"},
        "erasing.WithoutCase._destroyed": {"scope:keys:destroyed"},
        "registered.Registered.know": {""},
        "histories.Histories._take": {""},
        "histories.Histories._described": {""},
        "histories.Histories._keep": {"case:history:kept"},
    },
    "pool": {
        "model.ModelActivities._call": {""},
        "model.ModelActivities._store": {"agent:model:called"},
        "model.ModelActivities._store_failure": {"agent:model:failed"},
        "rerun_call.RerunCalls._rerun": {"call:rerun:ended"},
    },
    "relay": {
        place: {""}
        for place in (
            *("relay.Doorbell.pass_once", "relay.Delivery.pass_once", "relay.Delivery._tried"),
            "housekeeping.Uploads.pass_once",
        )
    },
    "sequencer": {"sequencer.Sequencer.grow_once": {""}, "sequencer.Sequencer._publish": {""}},
    "vault": {"keystore.KeyStore._insert": {""}},
}
EDGES = {
    "sequencer": {"client.SignerClient.sign": {""}},
    "pool": {"engine.EngineClient.chat": {""}},
    "relay": {"relay.Doorbell._ring": {""}, "relay.Delivery._post": {""}, "rerun_bell.RerunBell._ring": {""}},
}
# `wake` is not among them: who dies after its commit need not be woken again, for a ring may come first.
COMPLETIONS = {
    "worker": {
        *("load_case", "drain_inbox", "perform_step", "block_case", "begin_run", "call_tool", "end_run"),
        *("plan_rerun", "end_rerun"),
    },
    "pool": {"call_model", "rerun_call"},
}
# Who begins a transaction and writes nothing in it, or not in the life of an event. Whoever adds to this has looked.
ONLY_READ = {
    *("casework.CaseActivities.load_case", "readings.read_documents", "registers.Registers.earlier_aid"),
    *("casework.CaseActivities._after_dates", "recovery.repair", "recovery.Sweeper.pass_once", "repair._findings"),
    *("intake._accept", "incoming.Incoming._uploaded", "intake_opening._prepare", "intake._is_new"),
    *("cases.events", "explanations.explain", "past.show", "cases.list_", "cases.show", "cases.story"),
    *("connections.ping", "connections.database_time", "health._database", "traces.CaseTraces.of"),
    *("documents._given_out", "documents.content", "documents.of_case", "documents.of_task"),
    *("letters._open", "letters.of_case", "letters.pdf", "letters.receipt", "receipts.standing", "receipts._told"),
    *("procedures._published", "procedures.list_", "tasks._task", "tasks.list_", "pool.show"),
    *("witnessing.Witnessing._targets", "witnessing.Witnessing._proof", "witnessing.Witnessing._has_it"),
    *(
        "sequencer.Sequencer.publish_once",
        "sequencer.Sequencer._grew",
        "sequencer.Sequencer._have_others_signed",  # under another origin: tests/sequencer/test_closed_logs.py
        "ledger._checkpoint",
        "ledger._tile",
        "ledger._entries",
    ),
    *("entries._found", "entry_index.catch_up", "reads.Reads.record_apart"),  # an auditor's search; its other reads
    "rerun_bell.RerunBell.pass_once",
    *("erasures.without_case", "erasures.ask", "erasures.place", "erasures.lift", "erasures._decided"),
    *("tenants.over_all", "erasing.Erasures._of_tenant", "erasing.Erasures._carried_out"),
    "histories.Histories.pass_once",
}
OUTSIDE = {
    *("tenant._apply", "bootstrap.bootstrap", "clock.confirm", "ledger_growth._kept_there"),  # what an operator does
    *(
        "rotation.rotate",
        "rotation._rewrap",
        "rotation.retire",
    ),  # the same, on the vault's own database: tests/vault/test_crashes.py
    "exporting.Export._record",  # as above: no case waits for it
    "witnessing.Witnessing._ask",  # no case waits for a witness; a death here is in tests/sequencer/test_witnessing.py
}
# The clock is written down by whoever comes by when the last look at it is old, hosts of the pool say every few seconds
# how they are, and are forgotten when they have been gone for days: no event hangs on it. Nor on what the schedule
# proposes to be erased: years go by before it, and whoever looks next proposes it again. Nor on a run whose case was
# erased before its history was kept (tests/activities/test_histories.py), nor on what is put on record of the vault's
# own keys: whoever looks next does (tests/store/test_key_records.py).
CLOCK = {
    *(
        "dependencies.Dependencies.cipher",
        "dependencies.Dependencies.stamp",
        "clock_watch.watch_all",
        "clock._view",
        "pool_signs.Signs._give",
    ),
    *("housekeeping.GoneHosts.pass_once", "erasing.Proposals._of_tenant", "erasing.Proposals._of_version"),
    *("erasing.Proposals._proposed", "erasing.WithoutCase._of_tenant"),
    *("histories.Histories._erased", "key_records.KeyRecords._of_tenant"),
}
# Who asks for a rerun while no host serves is refused, which is on record, and asks again: that may come to pass once,
# or not at all. What is refused for good has a kind of its own, whose both sides are met.
PASSING = "api:request:refused"
# A history that Temporal has lost: tests/activities/test_histories.py.
GONE = {"histories.Histories._missed"}


@dataclass(frozen=True)
class Aftermath:
    """What is left when all stories have ended: the points that killed, what the checker says, seconds."""

    sprung: list[Sprung]
    report: Report
    failed: dict[str, BaseException]
    seconds: float

    def found(self, side: str) -> set[tuple[str, str, str]]:
        points = (each.point for each in self.sprung)
        return {(point.process, point.place, point.what) for point in points if point.side == side}


@pytest.fixture(scope="module")
async def aftermath() -> Aftermath:
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as monkeypatch:
        async with mined_office(monkeypatch) as (office, field):
            field.arm()
            failed = await _told(office, STORIES)
            failed |= await _told(office, (blocked,))  # while a signatory is missing others' decisions would wait
            await _rest(office)
            report = check(office.evidence())
            return Aftermath(field.sprung(), report, failed, time.monotonic() - began)


async def _told(office: PatientOffice, stories: tuple[Story, ...]) -> dict[str, BaseException]:
    ended = await asyncio.gather(*(story(office) for story in stories), return_exceptions=True)
    return {story.__name__: end for story, end in zip(stories, ended, strict=True) if end is not None}


async def _rest(office: PatientOffice) -> None:
    """Until nothing is under way any more: no event waits, nothing is to be delivered."""
    waiting = (
        "select (select count(*) from case_file where inbox_last > inbox_cursor or kind in ('act', 'agent')) "
        "+ (select count(*) from outbox where delivered_at is null) + (select count(*) from ledger_pending)"
    )
    until = time.monotonic() + PATIENCE_S
    with psycopg.connect(office.stack.database_url("postgres"), autocommit=True) as connection:
        while (left := connection.execute(waiting).fetchone()) != (0,):
            assert time.monotonic() < until, f"{left} things are still under way"
            await asyncio.sleep(0.5)


def test_every_story_ends_as_it_should(aftermath: Aftermath) -> None:
    assert {name: repr(error) for name, error in aftermath.failed.items()} == {}


def test_nothing_is_lost_doubled_or_unexplained(aftermath: Aftermath) -> None:
    assert [str(finding) for finding in aftermath.report.findings] == []
    assert aftermath.report.counts["acknowledged"] >= 15
    assert aftermath.report.counts["deliveries repeated"] >= 1  # a delivery that was not recorded was made again


def test_a_process_died_on_both_sides_of_every_commit(aftermath: Aftermath) -> None:
    one_sided = {"completion", *CLOCK, PASSING}
    before, after = (
        {each for each in aftermath.found(side) if one_sided.isdisjoint(each[1:])} for side in (BEFORE, AFTER)
    )
    assert before == after
    # Two that come by in the same millisecond may die together.
    assert len(aftermath.sprung) - 5 <= len({each.pid for each in aftermath.sprung}) <= len(aftermath.sprung)
    died = [f"{each.at - aftermath.sprung[0].at:7.1f} s  {each.point}" for each in aftermath.sprung]
    print(*died, f"{len(died)} deaths, {aftermath.seconds:.0f} s", sep="\n")


def test_the_points_are_those_of_the_life_of_an_event(aftermath: Aftermath) -> None:
    places = (COMMITS, EDGES)
    wanted = {
        (p, place, what) for each in places for p, of in each.items() for place, said in of.items() for what in said
    }
    wanted |= {(process, "completion", name) for process, names in COMPLETIONS.items() for name in names}
    assert wanted - aftermath.found(BEFORE) == set()


def test_every_transaction_in_the_code_was_met_or_only_reads(aftermath: Aftermath) -> None:
    """A commit that no story passes is one that nobody has tried: add a story, or say that it only reads."""
    met = {place for _, place, _ in aftermath.found(BEFORE)}
    begun = set(_transactions())
    assert begun - met - ONLY_READ - OUTSIDE - CLOCK - GONE == set()
    assert met & (ONLY_READ | OUTSIDE | GONE) == set()
    assert (ONLY_READ | OUTSIDE | CLOCK | GONE) - begun == set()


def _transactions() -> Iterator[str]:
    """The qualified names of the functions that begin a transaction."""
    for path in (path for package in ("diwan", "activities") for path in sorted((ROOT / package).rglob("*.py"))):
        yield from _begins(ast.parse(path.read_text(encoding="utf-8")), path.stem)


def _begins(node: ast.AST, name: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _begins(child, f"{name}.{child.name}")
            continue
        if isinstance(child, ast.Call) and _begins_to_write(child):
            yield name
        yield from _begins(child, name)


def _begins_to_write(call: ast.Call) -> bool:
    """A snapshot is read-only: Postgres refuses to write in it."""
    named = isinstance(call.func, ast.Attribute) and call.func.attr == "transaction"
    return named and not any(given.arg == "snapshot" for given in call.keywords)
