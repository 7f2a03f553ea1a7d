"""What witnesses said of the log: checkpoints with their cosignatures, and which of them to hand out.

The sequencer alone writes here, in a transaction for each cosignature.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from diwan.domain.errors import NotFound, Refused, Tampered
from diwan.ledger.checkpoint import Checkpoint
from diwan.ledger.note import Note, Signature, VerifierKey, parse_note
from diwan.ledger.policy import NONE, Policy
from diwan.ledger.tree import root_at
from diwan.store.connection import Connection
from diwan.store.ledger_tree import Published, published, read_tree, shards

# An auditor's policy is tried on so many checkpoints, the newest first: those of a year and more.
_TRIED = 5_000


def name_of(key: VerifierKey) -> str:
    """How the key is known in a note's lines."""
    return f"{key.name}+{key.id.hex()}"


async def keep_cosignature(
    conn: Connection, shard: str, checkpoint: Checkpoint, signed: Sequence[Signature], line: Signature
) -> None:
    """Adds a witness's verified `line` to a checkpoint that the log signed by the lines in `signed`.

    The same witness's line again changes nothing. What this one outdoes of the same hour goes.
    """
    given = {"shard": shard, "size": checkpoint.size}
    values = {"root": checkpoint.root, "note": bytes(Note(checkpoint.text, tuple(signed)))}
    await conn.execute(_BEGIN, {**given, **values})
    row = (await conn.execute(_LOCK, given)).one()
    name = f"{line.name}+{line.key_id.hex()}"
    if name not in row.witnesses:
        note, witnesses = parse_note(row.note).with_lines([line]), sorted([*row.witnesses, name])
        await conn.execute(_ADD, {**given, "note": bytes(note), "witnesses": witnesses})
        await conn.execute(_TIDY, {**given, "hour": row.hour, "witnesses": witnesses})


_BEGIN = text(
    "INSERT INTO ledger_cosigned (shard, size, root, note, witnesses) VALUES (:shard, :size, :root, :note, '{}') "
    "ON CONFLICT DO NOTHING"
)
_LOCK = text("SELECT hour, note, witnesses FROM ledger_cosigned WHERE (shard, size) = (:shard, :size) FOR UPDATE")
_ADD = text(
    "UPDATE ledger_cosigned SET note = :note, witnesses = :witnesses, cosigned_at = clock_timestamp() "
    "WHERE (shard, size) = (:shard, :size)"
)
_TIDY = text(
    "DELETE FROM ledger_cosigned WHERE shard = :shard AND hour = :hour AND size < :size "
    "AND witnesses <@ cast(:witnesses AS text[])"
)


async def keep_brought(conn: Connection, note: Note, trusted: Policy) -> Checkpoint:
    """Keeps what witnesses cosigned elsewhere, where it is of this tree and by the keys in `trusted`.

    Raises `Tampered` where a line is wrong, or the log's own key signed another tree; `Refused` where no witness that
    is trusted cosigned it, `NotFound` for a log that is not here.
    """
    checkpoint = trusted.checkpoint(note)
    cosigned = trusted.cosigned(note)
    if not cosigned:
        raise Refused(
            "ledger.no_such_witness",
            "No witness of DIWAN_LEDGER_WITNESSES cosigned this.",
            "Name the witness there, with its verifier key (`diwan witness show`).",
        )
    shard = next((each for each in await shards(conn) if each.origin == checkpoint.origin), None)
    last = None if shard is None else await published(conn, shard.name)
    if shard is None or last is None:
        raise NotFound("ledger.no_such_log", "There is no such log here.", "Is it another service's?")
    if checkpoint.size > last.size or checkpoint.root != await read_tree(
        conn, shard.name, checkpoint.size, lambda node: root_at(checkpoint.size, node)
    ):
        raise Tampered(
            "ledger.other_tree",
            "The log's key signed this, a witness cosigned it, and it is not of this tree: two histories were signed.",
            "Keep the file, change nothing here, and tell the auditors. docs/ledger.md says what to do.",
        )
    signed = [line for key in trusted.logs if (line := note.by(key)) is not None]
    for witness in trusted.witnesses:
        if witness.name in cosigned and (line := note.by(witness.key)) is not None:
            await keep_cosignature(conn, shard.name, checkpoint, signed, line)
    return checkpoint


async def cosigned_by(conn: Connection, shard: str, key: VerifierKey) -> int:
    """How many entries of a shard this witness has cosigned, as far as is known here."""
    return (await conn.execute(_BY, {"shard": shard, "name": name_of(key)})).scalar_one()


_BY = text("SELECT coalesce(max(size), 0) FROM ledger_cosigned WHERE shard = :shard AND :name = ANY (witnesses)")


async def newest(conn: Connection, shard: str = "") -> Published | None:
    """The last checkpoint of a shard, or of the newest shard that has one, with the cosignatures that it has by now."""
    found = await published(conn, shard)
    if found is None:
        return None
    there = (await conn.execute(_OF, {"shard": found.shard, "size": found.size})).scalar_one_or_none()
    if there is None:
        return found
    note = parse_note(found.note)
    known = {(each.name, each.key_id) for each in note.signatures}
    more = [each for each in parse_note(there).signatures if (each.name, each.key_id) not in known]
    return Published(found.shard, found.size, found.root, bytes(note.with_lines(more)))


_OF = text("SELECT note FROM ledger_cosigned WHERE (shard, size) = (:shard, :size)")


async def witnessed(conn: Connection, shard: str, *, covers: int = 0, policy: Policy | None = None) -> Published | None:
    """The newest checkpoint of at least `covers` entries that a policy is satisfied with; None where there is none.

    Without a policy it is, of those since an hour before the last one, the newest that most witnesses cosigned.
    """
    last = await newest(conn, shard)
    if last is None or last.size < covers:
        return None
    given = {"shard": last.shard, "covers": covers}
    if policy is None:
        row = (await conn.execute(_MOST, {**given, "size": last.size})).one_or_none()
        # The same one bears every key that signed it by now; the row, those at the time of its first cosignature.
        return last if row is None or row.size == last.size else Published(*row)
    if _satisfied(policy, last.note):
        return last
    # Who wants no witness, and is not satisfied with the last one, may know older keys of the log alone.
    query = _ALL if policy.quorum == NONE else _COSIGNED
    for row in await conn.execute(query, {**given, "limit": _TRIED}):
        if _satisfied(policy, row.note):
            return Published(*row)
    return None


def _satisfied(policy: Policy, note: bytes) -> bool:
    try:
        policy.checkpoint(parse_note(note))
    except Tampered:
        return False
    return True


_COSIGNED = text(
    "SELECT shard, size, root, note FROM ledger_cosigned WHERE shard = :shard AND size >= :covers "
    "ORDER BY size DESC LIMIT :limit"
)
_ALL = text(
    "SELECT shard, size, root, note FROM ledger_checkpoint WHERE shard = :shard AND size >= :covers "
    "ORDER BY size DESC, hour DESC LIMIT :limit"
)
_MOST = text(
    "SELECT w.shard, w.size, w.root, w.note FROM ledger_cosigned w WHERE w.shard = :shard AND w.size >= :covers "
    "AND w.cosigned_at >= (SELECT max(c.published_at) FROM ledger_checkpoint c WHERE c.shard = :shard) "
    "- interval '1 hour' AND w.size <= :size ORDER BY cardinality(w.witnesses) DESC, w.size DESC LIMIT 1"
)
