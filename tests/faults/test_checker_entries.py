"""Faults planted as entries: the ledger itself holds, and tells of what came twice, too late or in another order."""

from __future__ import annotations

import hashlib
import json

from tests.faults.conftest import Copy


def test_an_effect_that_is_doubled_is_found(copy: Copy) -> None:
    """A whole second consumption, rightly hashed and chained, as a service would write it that forgot its cursor."""
    _append(copy, copy.of.open, "event:event:consumed", like=1, inbox_seq=1)
    assert copy.check().names == {"event.effect_doubled"}


def test_a_case_that_ends_twice_is_found(copy: Copy) -> None:
    _append(copy, copy.of.granted, "case:decision:issued")
    found = copy.check().names
    assert found == {"case.ended_twice", "decision.entry_differs", "letter.entry_doubled"}


def test_a_reminder_that_goes_out_twice_is_found(copy: Copy) -> None:
    _append(copy, copy.of.waiting, "letter:letter:issued")
    assert copy.check().names == {"reminder.doubled", "letter.entry_doubled"}
    _append(copy, copy.of.open, "task:reminder:sent")
    assert copy.check().names == {"reminder.doubled", "letter.entry_doubled", "outbox.missing"}


def test_a_reminder_after_the_answer_is_found(copy: Copy) -> None:
    """Something came in, and before anybody took it up a reminder went out."""
    _append(copy, copy.of.open, "event:application:accepted", like=1)
    _append(copy, copy.of.open, "task:reminder:sent", reminder=2)
    assert {"reminder.after_answer", "reminder.state_differs"} <= copy.check().names


def test_effects_in_another_order_are_found(copy: Copy) -> None:
    _append(copy, copy.of.granted, "event:event:consumed", like=1, inbox_seq=0)
    assert copy.check().names == {"event.order_differs", "event.effect_unexplained"}


def test_an_answer_used_after_the_run_is_found(copy: Copy) -> None:
    _append(copy, copy.of.granted, "agent:model:called")
    assert copy.check().names == {"answer.used_late", "answer.entry_doubled"}


def test_an_arrival_that_is_told_twice_is_found(copy: Copy) -> None:
    _append(copy, copy.of.granted, "event:application:accepted")
    assert copy.check().names == {"event.entry_doubled"}


def test_a_tool_called_twice_is_found(copy: Copy) -> None:
    _append(copy, copy.of.granted, "agent:tool:called")
    assert copy.check().names == {"tool.entry_doubled"}


def _append(copy: Copy, case: str, kind: str, *, like: int = -1, **detail: object) -> None:
    """Another entry like the case's last (or `like`th) of this kind, with a version for it: the ledger itself holds."""
    rows = copy.connection.execute(
        "select header from entry where chain = %s and kind = %s order by seq", [case, kind]
    ).fetchall()
    row = copy.connection.execute("select version, head from case_file where id = %s", [case]).fetchone()
    assert row is not None
    version, head = row
    said = json.loads(rows[like if like < 0 else like - 1][0])  # type: ignore[arg-type]
    said |= {"seq": version + 1, "case_seq": version + 1, "prev": head.hex(), "detail": said["detail"] | detail}  # type: ignore[operator, union-attr]
    header = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    hashed = hashlib.sha256(b"\x00" + header).digest()
    copy.plant(
        "insert into entry (tenant, chain, seq, hash, prev_hash, header, kind, at) "
        "values (%s, %s, %s, %s, %s, %s, %s, %s)",
        *(said["tenant"], case, said["seq"], hashed, head, header, kind, said["at"]),
    )
    copy.plant("insert into ledger_pending values (%s, %s, %s, %s)", said["tenant"], case, said["seq"], hashed)
    copy.plant("update case_file set version = version + 1, head = %s where id = %s", hashed, case)
