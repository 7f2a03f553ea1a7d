"""Checks a chain of entries as stored: every hash, link, number and header, naming the first bad one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

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
class BadEntry:
    """Where a chain stops holding, and why (`reason` is a machine name, `text` is for people)."""

    tenant: str
    chain: str
    seq: int
    reason: str
    text: str

    def __str__(self) -> str:
        return f"tenant {self.tenant}, chain {self.chain}, entry {self.seq}: {self.text}"


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
