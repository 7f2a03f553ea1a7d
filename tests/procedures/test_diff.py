"""Two versions are compared as procedures, not as text."""

from __future__ import annotations

from diwan.procedures.diff import ChangeKind, diff
from tests.procedures.support import sample, text


def test_nothing_changed() -> None:
    assert diff(sample(), sample()) == []
    assert diff(sample(), sample(("# Documents that come", "# Papers that come"))) == []


def test_a_changed_rule_affects_running_cases() -> None:
    change = diff(sample(), sample(("when: rooms >= 2", "when: rooms >= 3")))
    assert [(each.path, each.kind, each.affects_running, each.before, each.after) for each in change] == [
        ("rules.enough_rooms.when", ChangeKind.CHANGED, True, "rooms >= 2", "rooms >= 3")
    ]


def test_wording_does_not() -> None:
    new = sample(
        ("en: Notarised promise of sale", "en: Promise of sale by a notary"), ('version: "1.2"', 'version: "1.3"')
    )
    found = {each.path: each for each in diff(sample(), new)}
    assert set(found) == {"version", "pieces.sale_promise.label.en"}
    assert not any(each.affects_running for each in found.values())


def test_added_and_removed_parts_are_named_once() -> None:
    yaml = text()
    start = yaml.index("  enough_rooms:\n")
    end = yaml.index("  recent_permit:\n")
    old, new = sample(), sample((yaml[start:end], ""))
    assert [(each.path, each.kind) for each in diff(old, new)] == [("rules.enough_rooms", ChangeKind.REMOVED)]
    assert [(each.path, each.kind) for each in diff(new, old)] == [
        ("rules.enough_rooms", ChangeKind.ADDED),
    ]


def test_the_order_of_rules_means_something_that_of_pieces_does_not() -> None:
    yaml = text()
    rules = yaml.index("rules:\n")
    places = [yaml.index(f"  {name}:\n", rules) for name in ("national", "owns_no_dwelling", "no_earlier_aid")]
    first, second, third = places
    swapped = yaml[:first] + yaml[second:third] + yaml[first:second] + yaml[third:]
    found = diff(sample(), sample((yaml, swapped)))
    assert [(each.path, each.kind, each.affects_running) for each in found] == [("rules", ChangeKind.REORDERED, True)]


def test_a_longer_period_affects_running_cases_a_new_question_does_not() -> None:
    found = diff(sample(), sample(("\n    length: 60\n", "\n    length: 90\n"), ("maximum: 30", "maximum: 40")))
    assert {each.path: each.affects_running for each in found} == {
        "periods.decision.length": True,
        "form.household.maximum": False,
    }
