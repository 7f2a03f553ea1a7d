"""A chain holds as written, and no change to it goes unseen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.ledger.entry import EntryActor, EntryHeader, encode, entry_hash
from diwan.ledger.verify import StoredEntry, dated_back, dated_outside, verify_chain


def chain_of(length: int, name: str = "c-1") -> list[StoredEntry]:
    entries: list[StoredEntry] = []
    prev: bytes | None = None
    for seq in range(1, length + 1):
        at = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=seq)
        header = encode(
            EntryHeader(
                tenant="demo",
                chain=name,
                seq=seq,
                prev=prev.hex() if prev else None,
                at=at,
                kind="case:step:moved",
                actor=EntryActor(kind="system", subject="worker"),
                case=name,
                case_seq=seq,
            )
        )
        entries.append(StoredEntry("demo", name, seq, entry_hash(header), prev, header, "case:step:moved", at))
        prev = entries[-1].hash
    return entries


@given(st.integers(0, 20))
def test_a_chain_as_written_holds(length: int) -> None:
    assert verify_chain(chain_of(length)) is None


@given(st.integers(2, 10), st.data())
def test_a_flipped_bit_is_found_where_it_is(length: int, data: st.DataObject) -> None:
    entries = chain_of(length)
    at = data.draw(st.integers(0, length - 1))
    column = data.draw(st.sampled_from(["header", "hash"] + (["prev_hash"] if at else [])))
    value = bytearray(getattr(entries[at], column))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    entries[at] = replace(entries[at], **{column: bytes(value)})
    bad = verify_chain(entries)
    assert bad is not None
    assert bad.seq == at + 1


@given(st.integers(2, 10), st.data())
def test_a_missing_entry_is_named(length: int, data: st.DataObject) -> None:
    entries = chain_of(length)
    gone = data.draw(st.integers(0, length - 2))
    del entries[gone]
    bad = verify_chain(entries)
    assert bad is not None
    assert (bad.seq, bad.reason) == (gone + 1, "entry.missing")


@given(st.integers(2, 8), st.data())
def test_another_order_is_found(length: int, data: st.DataObject) -> None:
    entries = chain_of(length)
    order = data.draw(st.permutations(range(length)))
    bad = verify_chain([entries[n] for n in order])
    assert (bad is None) == (list(order) == list(range(length)))


def test_an_entry_of_another_chain_is_found() -> None:
    bad = verify_chain([chain_of(1)[0], chain_of(2, "c-2")[1]])
    assert bad is not None
    assert bad.reason == "entry.other_chain"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tenant": "other"}, "entry.other_chain"),
        ({"kind": "case:case:closed"}, "entry.columns_differ"),
        ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "entry.columns_differ"),
    ],
)
def test_columns_say_what_the_header_says(changed: dict[str, object], reason: str) -> None:
    entries = chain_of(2)
    entries[1] = replace(entries[1], **changed)  # type: ignore[arg-type]
    bad = verify_chain(entries)
    assert bad is not None
    assert bad.reason == reason
    assert str(bad).startswith(f"tenant {entries[1].tenant}, chain c-1, entry 2:")


def test_a_header_that_names_another_place_is_found() -> None:
    """Whoever copies an entry, hash and all, to another case is found out by what it says of itself."""
    entry = chain_of(1)[0]
    bad = verify_chain([replace(entry, chain="c-2")])
    assert bad is not None
    assert bad.reason == "entry.columns_differ"
    said = EntryHeader(
        tenant="demo",
        chain="c-1",
        seq=1,
        at=entry.at,
        kind=entry.kind,
        actor=EntryActor(kind="system", subject="worker"),
        case="c-2",
        case_seq=1,
    )
    header = encode(said)
    bad = verify_chain([replace(entry, header=header, hash=entry_hash(header))])
    assert bad is not None
    assert bad.reason == "entry.case_differs"


@pytest.mark.parametrize(("back", "told"), [(timedelta(hours=1), False), (timedelta(hours=1, seconds=1), True)])
def test_a_date_is_odd_where_it_is_before_the_last_by_more_than_clocks_may_differ(back: timedelta, told: bool) -> None:
    first, second = chain_of(2)
    odd = dated_back(replace(second, at=first.at - back), first)
    assert (odd is not None) is told
    assert dated_back(first, None) is None


@pytest.mark.parametrize(
    ("at", "added", "oldest", "told"),
    [
        ("2027-01-01T00:59:59", "2026-12-31T23:59:59", False, None),
        ("2027-01-01T01:00:00", "2026-12-31T23:59:59", False, "date.after_its_log"),
        ("9999-12-31T23:59:59", "2026-06-01T00:00:00", True, "date.after_its_log"),
        ("2025-12-31T23:00:00", "2026-01-01T00:00:00", False, None),
        ("2025-12-31T22:59:59", "2026-01-01T00:00:00", False, "date.before_its_log"),
        ("2025-12-31T22:59:59", "2025-12-31T23:59:59", False, None),
        ("0001-01-01T00:00:00", "2026-06-01T00:00:00", False, "date.before_its_log"),
        ("0001-01-01T00:00:00", "2026-06-01T00:00:00", True, None),
    ],
)
def test_a_date_is_odd_where_it_is_not_of_its_logs_year(at: str, added: str, oldest: bool, told: str | None) -> None:
    instants = [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (at, added)]
    odd = dated_outside(("demo", "tests/a", 1), instants[0], instants[1], 2026, is_oldest=oldest)
    assert (odd and odd.reason) == told
