"""Recomputes the ledger as stored: every hash, link and header, every case against its chain, sealed bodies too,
every published procedure against its hash and its entry.

What it cannot see without the tree and its witnesses: a chain cut at its end together with its case's row.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text

from diwan.domain.errors import Final, NotFound, Tampered
from diwan.domain.ports import Cipher, Keyring
from diwan.ledger.entry import canonical, digest_of
from diwan.ledger.verify import BadEntry, OddDates, StoredEntry, check_entry, dated_back
from diwan.store.change import SELECT_CASE, CaseRow, case_row, standing
from diwan.store.connection import Connection
from diwan.store.opened_entry import keys_scope, open_entry
from diwan.store.procedure_check import ProcedureCheck

_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked; `first_bad` is None where all of it holds.

    `bodies` counts sealed bodies that were opened and match; `erased` those whose key was destroyed; `procedures`
    versions that are as an entry published them. `odd_dates` are of entries older than those before them: no finding.
    """

    tenant: str
    entries: int
    chains: int
    cases: int
    bodies: int
    erased: int
    procedures: int
    first_bad: BadEntry | None
    odd_dates: OddDates


async def verify_tenant(
    conn: Connection, tenant: str, *, keyring: Keyring | None = None, chain: str | None = None
) -> Report:
    """Checks all chains of a tenant, or one; stops at the first bad entry (by chain, then number).

    With a keyring it opens the sealed bodies and recomputes what the headers commit to, and compares each case's row
    with what its last entry says of it. All chains: published procedures are compared with their hashes and entries,
    too. `conn` is of `Database.transaction(…, snapshot=True)`: a ledger that grows
    meanwhile would look broken (`Final` otherwise).
    """
    if (await conn.execute(text("SHOW transaction_isolation"))).scalar_one() != "repeatable read":
        raise Final("ledger.no_snapshot", "A ledger is verified in one snapshot.", "Use a snapshot transaction.")
    check = _Check(conn, tenant, keyring)
    async for entry, body in _entries(conn, tenant, chain):
        bad = await check.entry(entry, body)
        if bad is not None:
            return check.report(bad)
    return check.report(await check.end() if chain is None else await check.end_of_chain())


class _Check:
    def __init__(self, conn: Connection, tenant: str, keyring: Keyring | None) -> None:
        self._conn = conn
        self._tenant = tenant
        self._keyring = keyring
        self._cipher: Cipher | None = None
        self._scope = ""
        self._previous: StoredEntry | None = None
        self._states: Mapping[str, Any] = {}
        self._entries = self._chains = self._cases = self._bodies = self._erased = 0
        self._procedures = ProcedureCheck()
        self._odd_dates = OddDates()

    def report(self, bad: BadEntry | None) -> Report:
        counts = (self._entries, self._chains, self._cases, self._bodies, self._erased, self._procedures.count)
        return Report(self._tenant, *counts, first_bad=bad, odd_dates=self._odd_dates)

    async def entry(self, entry: StoredEntry, body: bytes | None) -> BadEntry | None:
        previous = self._previous
        if previous is not None and previous.chain != entry.chain:
            bad = await self.end_of_chain()
            if bad is not None:
                return bad
            previous = None
        if previous is None:
            self._chains += 1
            self._cipher = None
        scope = "" if body is None else keys_scope(entry.chain, entry.header)
        if self._keyring is not None and body is not None and (self._cipher is None or scope != self._scope):
            try:
                self._cipher, self._scope = await self._keyring.cipher(self._tenant, scope), scope
            except NotFound:  # a destroyed key is known to have been; this one is not known at all
                return _bad(entry, "body.no_key", "the vault has no key for what is sealed beside the header")
        bad = check_entry(entry, previous) or self._body(entry, body)
        if bad is None:
            self._procedures.entry(entry)
            self._odd_dates.add(dated_back(entry, previous))
        self._previous = entry
        self._entries += 1
        return bad

    async def end_of_chain(self) -> BadEntry | None:
        """The case's row must name its chain's last entry as its version and head."""
        last = self._previous
        if last is None or "/" in last.chain:
            return None
        row = (await self._conn.execute(_CASE, {"tenant": self._tenant, "id": last.chain})).mappings().one_or_none()
        if row is None:
            return _bad(last, "case.missing", "the chain's case is missing")
        case = case_row(row)
        self._cases += 1
        if (case.version, case.head) != (last.seq, last.hash):
            return _bad(last, "case.head_differs", f"the case's row stands at version {case.version} with another head")
        return self._state(last, case)

    async def end(self) -> BadEntry | None:
        bad = await self.end_of_chain()
        if bad is not None:
            return bad
        orphan = (await self._conn.execute(_ORPHAN, {"tenant": self._tenant})).scalar_one_or_none()
        if orphan is not None:
            return BadEntry(self._tenant, orphan, 1, "entry.missing", "the case has no entries")
        return await self._procedures.end(self._conn, self._tenant)

    def _body(self, entry: StoredEntry, sealed: bytes | None) -> BadEntry | None:
        """The header's commitments against the salts, digests and body that are sealed beside it."""
        self._states = {}
        said: Mapping[str, str] = orjson.loads(entry.header).get("commitments", {})
        if sealed is None:
            return _bad(entry, "body.missing", "what the header commits to is not sealed beside it") if said else None
        if self._cipher is None:
            return None
        try:
            opened = open_entry(self._cipher, entry.chain, entry.seq, sealed)
        except NotFound:
            self._erased += 1
            return None
        except Tampered:
            return _bad(entry, "body.does_not_open", "what is sealed beside the header does not open")
        try:
            opened.check(said)
        except Tampered as error:
            return _bad(entry, error.code, error.message)
        self._states = opened.committed
        self._bodies += 1
        return None

    def _state(self, last: StoredEntry, case: CaseRow) -> BadEntry | None:
        if "state_after" in self._states and self._states["state_after"][1] != digest_of(canonical(standing(case))):
            return _bad(last, "case.state_differs", "the case's row is not in the state that its last entry says")
        return None


def _bad(entry: StoredEntry, reason: str, why: str) -> BadEntry:
    return BadEntry(entry.tenant, entry.chain, entry.seq, reason, why)


async def _entries(
    conn: Connection, tenant: str, chain: str | None
) -> AsyncGenerator[tuple[StoredEntry, bytes | None]]:
    """Entries by chain and number, a batch at a time: a ministry's ledger does not fit in memory."""
    after = ("", 0)
    while True:
        parameters = {"tenant": tenant, "chain": chain, "after": after[0], "seq": after[1], "limit": _BATCH}
        rows = (await conn.execute(_ENTRIES, parameters)).all()
        for row in rows:
            yield (
                StoredEntry(tenant, row.chain, row.seq, row.hash, row.prev_hash, row.header, row.kind, row.at),
                row.body_sealed,
            )
        if len(rows) < _BATCH:
            return
        after = (rows[-1].chain, rows[-1].seq)


_ENTRIES = text(
    "SELECT chain, seq, hash, prev_hash, header, body_sealed, kind, at FROM entry WHERE tenant = :tenant "
    "AND (cast(:chain AS text) IS NULL OR chain = :chain) AND (chain, seq) > (:after, :seq) "
    "ORDER BY chain, seq LIMIT :limit"
)
_CASE = text(f"{SELECT_CASE} WHERE tenant = :tenant AND id = :id")
_ORPHAN = text(
    "SELECT id FROM case_file c WHERE tenant = :tenant AND NOT EXISTS "
    "(SELECT FROM entry e WHERE e.tenant = c.tenant AND e.chain = c.id) ORDER BY id LIMIT 1"
)
