"""What a case's bundle is made of, read in one snapshot: entries, their places, checkpoints, what they commit to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, text

from diwan.domain.errors import InvalidInput, NotFound, Refused
from diwan.domain.ports import Cipher
from diwan.ledger.bundle import Bundle, Grown, Opened, PlacedEntry
from diwan.ledger.checkpoint import parse_checkpoint
from diwan.ledger.entry import HASH_BYTES
from diwan.ledger.fields import disclose, named
from diwan.ledger.note import Note, parse_note
from diwan.ledger.policy import Policy
from diwan.ledger.tiles import Tile, TiledTree, wanted
from diwan.ledger.tree import consistency_proof, inclusion_proof
from diwan.store.change import CaseRow
from diwan.store.connection import Connection
from diwan.store.histories import RunRow, open_history, runs_of, sealed_history
from diwan.store.ledger_cosigned import witnessed
from diwan.store.ledger_proofs import not_signed, not_witnessed
from diwan.store.ledger_tree import Published, published, tiles
from diwan.store.opened_entry import open_entry

# Entries by number, with the pointers of the fields that stay sealed; with none, all that the entry commits to does.
Withheld = Mapping[int, Collection[str]]


@dataclass(frozen=True, slots=True)
class KeptHistory:
    """A run's history as it is stored."""

    run: RunRow
    sealed: bytes


@dataclass(frozen=True)
class CaseFile:
    """What a bundle is made of, as it was read: nothing is computed yet, which takes long for a long case."""

    case: CaseRow
    rows: Sequence[Row[Any]]
    notes: Mapping[str, Published]
    tiles: Mapping[str, Mapping[Tile, bytes]]
    since: Mapping[str, Note]
    procedures: Mapping[str, bytes]
    histories: Mapping[int, KeptHistory]

    def bundle(self, cipher: Cipher, told: dict[str, str], *, withheld: Withheld | None = None) -> Bundle:
        """What is withheld stays sealed, as what entries say whose key is destroyed, and so do histories. Blocks.

        Raises `Tampered` where something sealed does not open, `NotFound` where there is no such entry, or it has no
        such field: whoever made a slip in the number would give out what they meant to keep back.
        """
        hide = withheld or {}
        if nowhere := hide.keys() - {row.seq for row in self.rows}:
            raise _no_such_entry(min(nowhere), len(self.rows))
        trees = {
            shard: TiledTree(
                self.notes[shard].size, lambda tile, there=there: there[tile.full][: tile.width * HASH_BYTES]
            )
            for shard, there in self.tiles.items()
        }
        entries = [
            PlacedEntry(
                row.header,
                row.shard,
                row.idx,
                tuple(inclusion_proof(row.idx, self.notes[row.shard].size, trees[row.shard].node)),
                None
                if row.seq in hide and not hide[row.seq]
                else _opened(cipher, self.case.id, row.seq, row.body_sealed, hide.get(row.seq, ())),
            )
            for row in self.rows
        ]
        return Bundle(
            told=told | {"tenant": self.case.tenant, "case": self.case.id, "number": self.case.number},
            entries=entries,
            notes={shard: each.note for shard, each in self.notes.items()},
            grown={shard: Grown(bytes(note), self._from(shard, note, trees)) for shard, note in self.since.items()},
            procedures=self.procedures,
            histories=self._histories(cipher, [seq for seq, fields in hide.items() if not fields]),
        )

    def _from(self, shard: str, note: Note, trees: Mapping[str, TiledTree]) -> tuple[bytes, ...]:
        old, size = parse_checkpoint(note.text).size, self.notes[shard].size
        return tuple(consistency_proof(old, size, trees[shard].node))

    def _histories(self, cipher: Cipher, withheld: Collection[int]) -> dict[str, bytes]:
        """By type and run, as the entry of each says."""
        opened: dict[str, bytes] = {}
        for row in self.rows:
            kept = None if row.seq in withheld else self.histories.get(row.seq)
            if kept is None:
                continue
            try:
                history = open_history(cipher, kept.run, kept.sealed)
            except NotFound:
                continue  # erased
            opened[f"{orjson.loads(row.header)['detail']['type']}-{kept.run.run_id}"] = history
        return opened


async def case_file(
    conn: Connection, case: CaseRow, *, policy: Policy | None = None, since: Sequence[Note] = ()
) -> CaseFile:
    """Read in one snapshot; `since` are checkpoints that somebody kept, at most one of a log.

    Raises `Retry` while no checkpoint has the case's last entry (`ledger.not_yet`), or none that satisfies the policy
    (`ledger.not_witnessed`); `NeedsPerson` where none will (`ledger.log_left`); `InvalidInput` where what was kept is
    of no log that the case is in.
    """
    rows = (await conn.execute(_ENTRIES, {"tenant": case.tenant, "chain": case.id})).all()
    notes: dict[str, Published] = {}
    there: dict[str, Mapping[Tile, bytes]] = {}
    kept = {parse_checkpoint(note.text).origin: note for note in since}
    used: dict[str, Note] = {}
    for shard in sorted({row.shard or "" for row in rows}):
        last = await published(conn, shard) if shard else None
        indexes = [row.idx for row in rows if (row.shard or "") == shard]
        if last is None or last.size <= max(indexes):
            raise await not_signed(conn, shard or None, "all entries of this case")
        mine = kept.pop(parse_checkpoint(parse_note(last.note).text).origin, None)
        old = 0 if mine is None else parse_checkpoint(mine.text).size
        if old > last.size:
            raise Refused("ledger.shorter_than_kept", "What you kept has more entries than the log.", "Keep it.")
        found = await witnessed(conn, shard, covers=max(max(indexes) + 1, old), policy=policy)
        if found is None:
            raise not_witnessed()
        notes[shard] = found
        which = wanted(found.size, lambda node, old=old, size=found.size: consistency_proof(old, size, node))
        for index in indexes:
            which |= wanted(found.size, lambda node, index=index, size=found.size: inclusion_proof(index, size, node))
        there[shard] = await tiles(conn, shard, which)
        used |= {} if mine is None else {shard: mine}
    if kept:
        raise InvalidInput("ledger.kept_of_another_log", "What you kept is of no log of this case.", "Leave it.")
    procedures = await conn.execute(_PROCEDURES, {"tenant": case.tenant, "chain": case.id})
    named = {row.hash: row.body.encode() for row in procedures}
    return CaseFile(case, rows, notes, there, used, named, await _histories(conn, case))


async def _histories(conn: Connection, case: CaseRow) -> dict[int, KeptHistory]:
    """Those that are kept, sealed, by the number of the entry that says so. Raises `NotFound` where bytes are gone."""
    kept: dict[int, KeptHistory] = {}
    for run in await runs_of(conn, case.tenant, case.id):
        if run.entry_seq is not None and run.blob is not None:
            kept[run.entry_seq] = KeptHistory(run, await sealed_history(conn, run))
    return kept


_ENTRIES = text(
    "SELECT e.seq, e.header, e.body_sealed, l.shard, l.idx FROM entry e "
    "LEFT JOIN ledger_leaf l USING (tenant, chain, seq) WHERE e.tenant = :tenant AND e.chain = :chain ORDER BY e.seq"
)
_PROCEDURES = text(
    "SELECT DISTINCT p.hash, p.body FROM procedure_version p JOIN case_file c ON c.tenant = p.tenant "
    "AND c.procedure_hash = p.hash WHERE c.tenant = :tenant AND c.id = :chain"
)


def _opened(cipher: Cipher, chain: str, seq: int, sealed: bytes | None, hide: Collection[str]) -> Opened | None:
    """None where nothing is committed to, or its key is destroyed. `hide` are pointers."""
    if sealed is None:
        if hide:
            raise _no_such_field(seq, hide)
        return None
    try:
        opened = open_entry(cipher, chain, seq, sealed)
    except NotFound:
        return None
    if opened.body is None or opened.seed is None:
        if hide:
            raise _no_such_field(seq, hide)
        return Opened(opened.committed, opened.body)
    hidden = named(hide)
    made = disclose(opened.seed, opened.body, lambda pointer: not hidden(pointer))
    if unknown := [each for each in hide if not any(named([each])(pointer) for pointer in made.hidden)]:
        raise _no_such_field(seq, unknown)
    # Whoever knows all of a value but a field can guess that: what else the entry commits to stays sealed with it.
    return Opened({} if hide else opened.committed, fields=made)


def _no_such_entry(seq: int, entries: int) -> NotFound:
    return NotFound(
        "ledger.no_such_entry",
        f"This case has entries 1 to {entries}, and none of number {seq}.",
        "Nothing was given out. Find the number (diwan case show CASE --story), and ask again.",
    )


def _no_such_field(seq: int, pointers: Collection[str]) -> NotFound:
    return NotFound(
        "ledger.no_such_field",
        f"Entry {seq} has no field {min(pointers)} that could stay sealed.",
        f"Nothing was given out. Check the number (diwan case show CASE --story), or withhold all: --withhold {seq}",
    )
