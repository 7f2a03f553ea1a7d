"""Checks a chain of entries as stored: every hash, link, number and header, naming the first bad one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from diwan.domain.clock import SKEW
from diwan.domain.errors import Tampered
from diwan.ledger.entry import EntryHeader, check_header, entry_hash


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as the database has it: columns beside the header's bytes."""

    tenant: str
    chain: str
    seq: int
    hash: bytes
    prev_hash: bytes | None
    header: bytes
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _OfEntry:
    """What is said of one entry: `reason` is a machine name, `text` is for people."""

    tenant: str
    chain: str
    seq: int
    reason: str
    text: str

    def __str__(self) -> str:
        return f"tenant {self.tenant}, chain {self.chain}, entry {self.seq}: {self.text}"


class BadEntry(_OfEntry):
    """Where a chain stops holding, and why."""

    __slots__ = ()


class OddDate(_OfEntry):
    """An entry whose date is not where its place in the ledger would have it. No finding: a clock that was wrong, or
    was set back, makes the same, and the service stamps what comes with the time that it is told."""

    __slots__ = ()


@dataclass(slots=True)
class OddDates:
    """How many there are, and the first of them."""

    count: int = 0
    first: list[OddDate] = field(default_factory=list[OddDate])

    def add(self, found: OddDate | None) -> None:
        if found is not None:
            self.count += 1
            self.first += [found][: _TOLD - len(self.first)]


_TOLD = 20


def dated_back(entry: StoredEntry, previous: StoredEntry | None) -> OddDate | None:
    """An entry that is older than the one before it in its chain, by more than machines' clocks may differ."""
    if previous is None or previous.at - entry.at <= SKEW:
        return None
    why = (
        f"it is dated {_said(entry.at)}, and the entry before it {_said(previous.at)}: one of the two is wrong. "
        "The chain clock/watch may say that a clock was."
    )
    return OddDate(entry.tenant, entry.chain, entry.seq, "date.before_predecessor", why)


def dated_outside(
    place: tuple[str, str, int], at: datetime, added_at: datetime, year: int, *, is_oldest: bool
) -> OddDate | None:
    """An entry (tenant, chain, number) of the log of `year` that is dated after it, or before it though the database
    took it in (`added_at`) within it.

    What was written in the year before and waited for its place stands in the log of the year after; the oldest log
    has what was written before there was a tree.
    """
    at = at.astimezone(UTC)
    if at.year > year and (at - SKEW).year > year:
        return OddDate(*place, "date.after_its_log", f"it is dated {_said(at)}, and stands in the log of {year}")
    if not is_oldest and at.year < year and (at + SKEW).year < year <= added_at.astimezone(UTC).year:
        why = f"it is dated {_said(at)}, and came into the log of {year} on {_said(added_at)}"
        return OddDate(*place, "date.before_its_log", why)
    return None


def _said(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def verify_chain(entries: Iterable[StoredEntry]) -> BadEntry | None:
    """The first bad entry of one chain given in order from its first, or None where all hold.

    Recomputes each hash from the header's bytes, checks that the header is canonical, that header and columns say
    the same, and that each entry names its predecessor. An empty chain holds.
    """
    previous: StoredEntry | None = None
    for entry in entries:
        bad = check_entry(entry, previous)
        if bad is not None:
            return bad
        previous = entry
    return None


def check_entry(entry: StoredEntry, previous: StoredEntry | None) -> BadEntry | None:
    """As `verify_chain`, for one entry after the one before it (None: the entry must be the first)."""
    return check_link(entry, previous) or check_form(entry)


def check_link(entry: StoredEntry, previous: StoredEntry | None) -> BadEntry | None:
    """That the entry is the next of its chain, its hash that of its header, and the one before it named."""
    expected = previous.seq + 1 if previous else 1
    if entry.seq != expected:
        return BadEntry(entry.tenant, entry.chain, expected, "entry.missing", f"entry {expected} is missing")
    if previous and (previous.tenant, previous.chain) != (entry.tenant, entry.chain):
        return _bad(entry, "entry.other_chain", "the entry belongs to another chain than the one before it")
    if entry_hash(entry.header) != entry.hash:
        return _bad(entry, "entry.hash_differs", "the stored hash is not that of the stored header")
    if entry.prev_hash != (previous.hash if previous else None):
        return _bad(entry, "entry.link_differs", "the entry does not name the hash of the one before it")
    return None


def check_form(entry: StoredEntry) -> BadEntry | None:
    """That the header is the canonical form of what it says, and says what the columns beside it say."""
    try:
        header = check_header(entry.header)
    except Tampered as error:
        return _bad(entry, error.code, error.message)
    return _compare(entry, header)


def _compare(entry: StoredEntry, header: EntryHeader) -> BadEntry | None:
    said = (header.tenant, header.chain, header.seq, header.prev)
    if said != (entry.tenant, entry.chain, entry.seq, entry.prev_hash.hex() if entry.prev_hash else None):
        return _bad(entry, "entry.columns_differ", "the header and the columns beside it name different places")
    if (header.kind, header.at) != (entry.kind, entry.at):
        why = "the header and the columns beside it name different kinds or instants"
        return _bad(entry, "entry.columns_differ", why)
    if header.case and (header.case != header.chain or header.case_seq != header.seq):
        return _bad(entry, "entry.case_differs", "the header names another case or version than its chain")
    return None


def _bad(entry: StoredEntry, reason: str, text: str) -> BadEntry:
    return BadEntry(entry.tenant, entry.chain, entry.seq, reason, text)
