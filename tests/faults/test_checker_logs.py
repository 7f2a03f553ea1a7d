"""Faults planted in what those outside know: the logs of the sender, of the people and of the webhook's receiver."""

from __future__ import annotations

import dataclasses

from tests.faults.conftest import Copy


def test_an_event_that_only_its_sender_knows_of_is_found(copy: Copy) -> None:
    lost = dataclasses.replace(copy.of.sent[1], id="never-stored")
    assert copy.check(sent=[*copy.of.sent, lost]).names == {"event.lost"}
    unanswered = dataclasses.replace(lost, status=0)
    report = copy.check(sent=[*copy.of.sent, unanswered])
    assert report.names == set(), "nobody promised anything"


def test_an_event_stored_without_an_answer_is_explained(copy: Copy) -> None:
    silent = [dataclasses.replace(sent, status=0, case="", number="") for sent in copy.of.sent]
    report = copy.check(sent=silent)
    assert report.names == set()
    assert report.counts["stored, no acknowledgement arrived"] == 7


def test_an_answer_that_names_another_case_is_found(copy: Copy) -> None:
    wrong = [dataclasses.replace(copy.of.sent[1], case="other"), *copy.of.sent]
    assert copy.check(sent=wrong).names == {"event.answer_differs"}


def test_two_bodies_under_one_id_are_found(copy: Copy) -> None:
    other = dataclasses.replace(copy.of.sent[1], body="another")
    assert copy.check(sent=[*copy.of.sent, other]).names == {"event.body_differs"}


def test_one_body_stored_as_two_is_found(copy: Copy) -> None:
    same = [dataclasses.replace(sent, body="one body") for sent in copy.of.sent]
    assert copy.check(sent=same).names == {"event.body_differs"}


def test_two_bodies_stored_as_one_are_found(copy: Copy) -> None:
    copy.plant("update inbox set digest = 'same' where source <> 'task'")
    assert copy.check().names == {"event.body_differs"}


def test_an_act_that_is_answered_two_ways_is_found(copy: Copy) -> None:
    act = next(each for each in copy.of.acted if each.status == 200)
    others = [each for each in copy.of.acted if (each.task, each.key) != (act.task, act.key)]

    def told(*statuses: int) -> set[str]:
        tries = [dataclasses.replace(act, status=status, told=act.told if status == 200 else {}) for status in statuses]
        return copy.check(acted=[*others, *tries]).names

    assert told(200, 409) == {"act.answer_differs"}
    assert told(200, 403, 200) == {"act.answer_differs"}
    assert told(0, 409) == {"act.answer_differs"}, "it was done, and nobody was told so"
    assert told(503, 0) == told(409, 0) == told(409, 0, 200) == told(0, 503, 200, 200) == set()


def test_an_act_that_is_acknowledged_otherwise_is_found(copy: Copy) -> None:
    act = next(each for each in copy.of.acted if each.status == 200)
    other = dataclasses.replace(act, told={**act.told, "outcome": "rejected"})
    assert copy.check(acted=[*copy.of.acted, other]).names == {"act.answer_differs"}


def test_a_delivery_that_is_dropped_is_found(copy: Copy) -> None:
    gone = copy.of.delivered[0].id
    kept = [each for each in copy.of.delivered if each.id != gone]
    assert copy.check(delivered=kept).names == {"delivery.missing"}
    failed_only = [each for each in copy.of.delivered if each.id != gone or each.status != 200]
    assert copy.check(delivered=failed_only).names == {"delivery.missing"}


def test_a_delivery_that_contradicts_another_is_found(copy: Copy) -> None:
    other = dataclasses.replace(copy.of.delivered[0], body=copy.of.delivered[-1].body)
    found = copy.check(delivered=[*copy.of.delivered, other]).names
    assert found == {"delivery.contradictory", "delivery.body_differs"}


def test_a_delivery_that_is_not_signed_is_found(copy: Copy) -> None:
    forged = [dataclasses.replace(each, signed=False) for each in copy.of.delivered]
    assert copy.check(delivered=forged).names == {"delivery.unsigned"}


def test_a_delivery_of_nothing_is_found(copy: Copy) -> None:
    other = dataclasses.replace(copy.of.delivered[0], id="of-nothing")
    assert copy.check(delivered=[*copy.of.delivered, other]).names == {"delivery.unexplained"}
