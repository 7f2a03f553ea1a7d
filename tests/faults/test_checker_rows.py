"""Faults planted in rows: lost, doubled or changed behind the service's back. Each is found by its own names."""

from __future__ import annotations

import pytest

from tests.activities.conftest import NOW
from tests.faults.conftest import Copy

# What is done to the case that was granted → the names of what is found.
PLANTED: dict[str, tuple[str, set[str]]] = {
    "an entry is removed": (
        "delete from entry where chain = %s and kind = 'event:event:consumed' and seq > 3",
        {"ledger.entry_missing", "ledger.version_differs", "event.effect_missing", "tree.entry_missing"},
    ),
    "the first entry is removed": (
        "delete from entry where chain = %s and seq = 1",
        {"ledger.entry_missing", "ledger.version_differs", "event.entry_missing", "tree.entry_missing"},
    ),
    "a second id repeats nothing": (
        "update inbox set consumed_by = 'nothing', consumed_at = now() where case_id is null and %s <> ''",
        {"event.repeat_unexplained", "event.stray_lost"},
    ),
    "the last entry is removed": (
        "delete from entry e using case_file c where c.id = %s and e.chain = c.id and e.seq = c.version",
        {
            *("ledger.version_differs", "ledger.head_differs", "case.end_unexplained"),
            *("decision.entry_differs", "letter.entry_missing", "tree.entry_missing"),
        },
    ),
    "an entry says something else": (
        "update entry set header = convert_to(replace(convert_from(header, 'UTF8'), '\"examine\"', '\"exemine\"'), "
        "'UTF8') where chain = %s and kind = 'letter:letter:issued'",
        {"ledger.hash_differs"},
    ),
    "an entry is written with spaces": (
        "update entry set header = header || ' '::bytea, hash = sha256('\\x00'::bytea || header || ' '::bytea) "
        "where chain = %s and seq = 3",
        {"ledger.not_canonical", "ledger.link_differs", "tree.leaf_differs"},
    ),
    "an entry names another before it": (
        "update entry set prev_hash = sha256('x') where chain = %s and seq = 5",
        {"ledger.link_differs", "ledger.columns_differ"},
    ),
    "an entry's column is changed": (
        "update entry set at = at - interval '1 day' where chain = %s and seq = 5",
        {"ledger.columns_differ"},
    ),
    "the case's row is lost": (
        "delete from case_file where id = %s",
        {"ledger.case_missing", "number.gap", "event.answer_differs", "outbox.doubled"},
    ),
    "a version more than entries": (
        "update case_file set version = version + 1 where id = %s",
        {"ledger.version_differs"},
    ),
    "an event is dropped": (
        "delete from inbox where case_id = %s and inbox_seq = 1",
        {"event.lost", "event.number_gap", "event.effect_unexplained", "event.entry_unexplained"},
    ),
    "an event is unconsumed": (
        "update inbox set consumed_at = null where case_id = %s and inbox_seq = 2",
        {"inbox.cursor_differs", "event.effect_unexplained"},
    ),
    "the cursor is moved back": (
        "update case_file set inbox_cursor = inbox_cursor - 1 where id = %s",
        {"inbox.cursor_differs", "event.unconsumed"},
    ),
    "the inbox promises more": (
        "update case_file set inbox_last = inbox_last + 1 where id = %s",
        {"event.number_gap", "event.unconsumed"},
    ),
    "an event that nobody sent": (
        "insert into inbox (tenant, source, event_id, case_id, inbox_seq, type, digest, body_sealed, accepted_at, "
        "accepted_from, consumed_at) select tenant, source, 'unsent', null, null, type, digest, 'x', now(), 'x', null "
        "from inbox where case_id = %s and inbox_seq = 1",
        {"event.unexplained", "event.stray_lost"},
    ),
    "a task's event is dropped": (
        "delete from inbox where case_id = %s and inbox_seq = 2",
        {"event.number_gap", "event.effect_unexplained", "task.event_differs"},
    ),
    "an act is dropped": (
        "delete from task_act where task_id in (select id from task where case_id = %s and kind = 'sign')",
        {"act.lost", "act.unexplained"},
    ),
    "an act is doubled": (
        "insert into task_act select tenant, task_id, key || '2', case_id, act, subject, request_digest, answer, null, "
        "at from task_act where case_id = %s",
        {"act.entry_differs"},
    ),
    "a task is doubled": (
        "insert into task (tenant, id, case_id, kind, step, visit, status, roles, shown_sealed, digest, created_at) "
        "select tenant, 'again', case_id, kind, step, visit, 'cancelled', roles, 'x', 'x', now() from task "
        "where case_id = %s and kind = 'review'",
        {"task.doubled"},
    ),
    "a task stays open": (
        "update task set status = 'open' where case_id = %s and kind = 'sign'",
        {"task.event_differs", "case.ended_with_task"},
    ),
    "a decision is lost": (
        "delete from decision where case_id = %s",
        {"decision.missing", "decision.entry_differs", "letter.unexplained", "outbox.doubled"},
    ),
    "a decision is another": (
        "update decision set result = 'refused' where case_id = %s",
        {"decision.differs"},
    ),
    "a case ended otherwise": (
        "update case_file set state = jsonb_set(state, '{result}', '\"withdrawn\"') where id = %s",
        {"decision.unexplained"},
    ),
    "a case has half ended": ("update case_file set closed_at = null where id = %s", {"case.half_ended"}),
    "a letter is doubled": (
        "insert into letter (tenant, id, case_id, kind, language, number, blob, content_sealed, template, made_at) "
        "select tenant, case_id || '/receipt/2', case_id, kind, language, number, blob, 'x', template, made_at "
        "from letter where case_id = %s and kind = 'receipt'",
        {"letter.doubled", "letter.number_differs", "letter.entry_missing", "notification.missing", "outbox.missing"},
    ),
    "a receipt is lost": (
        "delete from letter where case_id = %s and kind = 'receipt'",
        {"letter.lost", "letter.missing", "letter.number_differs", "outbox.doubled"},
    ),
    "a decision letter is lost": (
        "delete from letter where case_id = %s and kind = 'decision'",
        {"letter.lost", "letter.missing", "outbox.doubled"},
    ),
    "a notification is lost": (
        "delete from notification where case_id = %s and letter_id like '%%receipt%%'",
        {"notification.missing"},
    ),
    "a notification is doubled": (
        "insert into notification select tenant, id || '2', case_id, letter_id, channel, sent_at, null, null, status "
        "from notification where case_id = %s",
        {"notification.doubled"},
    ),
    "an outgoing event is dropped": (
        "delete from outbox where case_id = %s and type = 'diwan.case.closed'",
        {"outbox.missing", "delivery.unexplained"},
    ),
    "an outgoing event is doubled": (
        "insert into outbox select tenant, id || '2', case_id, type, payload, webhook_id, created_at, null, next_at "
        "from outbox where case_id = %s and type = 'diwan.case.closed'",
        {"outbox.doubled", "delivery.outstanding"},
    ),
    "an outgoing event is another": (
        "update outbox set payload = '{}' where case_id = %s and type = 'diwan.case.closed'",
        {"delivery.body_differs"},
    ),
    "an outgoing event waits": (
        "update outbox set delivered_at = null where case_id = %s and type = 'diwan.case.closed'",
        {"delivery.outstanding"},
    ),
    "two answers of a call are used": (
        "insert into model_call select tenant, run_id, call, attempt + 1, case_id, model, final, 'x', 'x', status, "
        "broken, used, usage, engine, started_at, ended_at from model_call where case_id = %s and call = 1",
        {"answer.doubled", "run.calls_differ", "answer.entry_missing"},
    ),
    "an answer is lost": (
        "delete from model_call where case_id = %s and call = 1",
        {"answer.missing", "run.calls_differ", "answer.lost"},
    ),
    "the final answer is lost": (
        "delete from model_call where case_id = %s and final",
        {"run.answer_missing", "run.calls_differ", "answer.lost"},
    ),
    "a late answer is used": (
        "update model_call set status = 'late' where case_id = %s and call = 1",
        {"answer.unexplained"},
    ),
    "a tool's result is lost": (
        "delete from tool_call t where case_id = %s and (call, position) = (select min(call), min(position) from "
        "tool_call where case_id = t.case_id)",
        {"tool.lost"},
    ),
    "a tool's result is doubled": (
        "insert into tool_call select tenant, run_id, call, position + 100, case_id, tool, effect, 'x', 'x', status, "
        "started_at, ended_at from tool_call where case_id = %s limit 1",
        {"tool.entry_missing"},
    ),
    "a run is lost": ("delete from agent_run where case_id = %s", {"run.missing", "run.lost"}),
    "a run goes on": (
        "update agent_run set status = 'running', ended_at = null where case_id = %s",
        {"run.not_ended", "run.lost"},
    ),
    "a number is given twice": (
        "update case_file set number = (select min(number) from case_file) where number <> (select min(number) from "
        "case_file) and id <> %s",
        {"number.doubled", "number.gap", "letter.number_differs", "event.answer_differs"},
    ),
    "a number is left out": (
        "update numbering set last = last + 1 where %s <> ''",
        {"number.gap"},
    ),
    "a stray event's task is lost": ("delete from task where kind = 'stray_event' and %s <> ''", {"event.stray_lost"}),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_by_its_name(copy: Copy, fault: str) -> None:
    statement, names = PLANTED[fault]
    copy.plant("drop index model_call_used")
    copy.plant("alter table case_file drop constraint case_file_tenant_number_key")
    copy.plant(statement, copy.of.granted)
    assert copy.check().names == names


def test_a_second_decision_is_found(copy: Copy) -> None:
    copy.plant("alter table decision drop constraint decision_tenant_case_id_key")
    copy.plant(
        "insert into decision select tenant, id || '2', case_id, result, 'x', 'x', signed_by, delegation_id, signed_at "
        "from decision where case_id = %s",
        copy.of.granted,
    )
    found = copy.check().names
    assert found == {"decision.doubled", "decision.entry_differs", "letter.missing", "outbox.missing"}


def test_a_second_case_of_one_reference_is_found(copy: Copy) -> None:
    copy.plant("alter table case_file drop constraint case_file_tenant_source_reference_key")
    copy.plant("update case_file set reference = 'granted' where id = %s", copy.of.open)
    assert copy.check().names == {"case.doubled"}


def test_an_event_stored_twice_is_found(copy: Copy) -> None:
    copy.plant("alter table inbox drop constraint inbox_pkey")
    copy.plant("insert into inbox select * from inbox where case_id is null")
    assert copy.check().names == {"event.stored_twice", "event.stray_lost"}


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("kind = 'act'", "case.waits_for_nothing"),
        ("kind = 'agent'", "case.waits_for_nothing"),
        ("kind = 'wait', wake_at = null", "case.waits_for_nothing"),
        (f"wake_at = timestamptz '{NOW}' - interval '1 hour'", "case.overdue"),
    ],
)
def test_a_case_that_waits_for_nothing_is_found(copy: Copy, state: str, name: str) -> None:
    copy.plant(f"update case_file set {state} where id = %s", copy.of.open)  # noqa: S608
    assert copy.check().names == {name}


def test_a_case_whose_task_is_gone_waits_for_nothing(copy: Copy) -> None:
    copy.plant("update task set status = 'cancelled' where case_id = %s", copy.of.open)
    assert copy.check().names == {"case.waits_for_nothing"}


def test_a_blocked_case_waits_for_something_named(copy: Copy) -> None:
    copy.plant("update case_file set kind = 'act', blocked = 'decision.unsigned' where id = %s", copy.of.open)
    report = copy.check()
    assert report.names == set()
    assert report.waiting["blocked: decision.unsigned"] == 1


def test_a_second_letter_of_a_reminder_is_found(copy: Copy) -> None:
    copy.plant(
        "insert into letter (tenant, id, case_id, kind, language, number, blob, content_sealed, template, made_at) "
        "select tenant, id || '2', case_id, kind, language, number, blob, 'x', template, made_at "
        "from letter where case_id = %s and kind = 'reminder'",
        copy.of.waiting,
    )
    assert copy.check().names == {
        *("letter.number_differs", "letter.entry_missing", "notification.missing", "outbox.missing"),
    }


def test_a_reminder_that_the_case_forgot_is_found(copy: Copy) -> None:
    copy.plant("update case_file set state = state - 'reminders' where id = %s", copy.of.waiting)
    assert copy.check().names == {"reminder.state_differs"}
