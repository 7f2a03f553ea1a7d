"""The sequencer: gives entries of the ledger their place in the tree, and has the tree signed as it grows.

Two passes, apart: growing needs the database alone, so a signer that is away delays checkpoints and nothing else. What
is signed is proved to the signer to begin with what it signed before (diwan/signer), which remembers that by itself. A
log whose key was exchanged is signed anew as it stands: what is handed out bears the key that signs now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from diwan import metrics
from diwan.domain.errors import DiwanError, NeedsPerson, Unavailable
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.note import Note, VerifierKey, parse_note, parse_vkey
from diwan.ledger.tree import consistency_proof
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.ledger_tails import Tail, move_tail, unsigned_tails
from diwan.store.ledger_tree import (
    Published,
    Shard,
    anything_waits,
    grow,
    open_shard,
    publish,
    published,
    read_tree,
    shards,
    went_back,
)

log = structlog.get_logger()

# A pass holds its transaction for a fraction of a second, however much waits.
AT_MOST = 5_000


# What is said of a log that has fewer entries than were signed.
_BEHIND = ("ledger.went_back", "signer.went_back")
# Why the rest of a log that was left is signed no more: its signer remembers another, is another, or remembers nothing.
_NEVER_SIGNED = {
    *_BEHIND,
    *("signer.split_view", "proof.not_consistent"),
    *("ledger.signer_forgot", "signer.not_my_log", "signer.memory_lost", "signer.key_lost", "signer.other_key"),
}


class SigningNow(Protocol):
    """The verifier keys that sign now, one for each log."""

    @property
    def keys(self) -> Sequence[str]: ...


class Signer(Protocol):
    """Signs checkpoints, and only ever of a log that grew."""

    def keys(self) -> Awaitable[SigningNow]:
        """Which keys sign now."""
        ...

    def last(self, origin: str) -> Awaitable[bytes | None]:
        """The note that it signed last for a log; None where it signed none."""
        ...

    def sign(self, checkpoint: Checkpoint, proof: list[bytes]) -> Awaitable[bytes]:
        """The note; `proof` shows that the tree signed last is the beginning of this one."""
        ...


@dataclass(frozen=True, slots=True)
class _Signed:
    """What the signer said of a log: its note, and what that says."""

    checkpoint: Checkpoint
    note: Note


@dataclass(frozen=True, slots=True)
class _Moved:
    """`entries` of a log's tail wait for a place again, because it could not be signed; None: they could not wait."""

    tail: Tail
    entries: int | None
    why: str

    def say(self) -> None:
        shard = self.tail.shard
        was = {"shard": shard.name, "size": shard.size, "root": shard.root.hex(), "signed": self.tail.signed}
        if self.entries is None:
            log.error("ledger.tail_stays", why=self.why, **was)
        else:
            metrics.LEDGER_MOVED.add(self.entries, shard.name)
            log.warning("ledger.tail_moved", why=self.why, entries=self.entries, **was)


class Sequencer:
    """`db` connects as diwan_sequencer; `origin` begins the name of each shard's log."""

    def __init__(self, db: Database, signer: Signer, origin: str, *, at_most: int = AT_MOST) -> None:
        self._db = db
        self._signer = signer
        self._origin = origin
        self._at_most = at_most
        self._signed: dict[str, _Signed] = {}
        self._others_ended = False

    async def grow_once(self) -> int:
        """Places what waits; how many entries, so 0 says that nothing waits now.

        Before a log is begun under another origin than the last one's, that one is brought to its end, for which the
        signer must answer: what it does not sign any more is placed anew.

        Raises `NeedsPerson` where the ledger went on in a log of another origin.
        """
        unsigned = {} if self._others_ended else await self._have_others_signed()
        async with self._db.transaction(None) as conn:
            if not unsigned and not await anything_waits(conn):
                return 0  # and nothing is locked, which would be written down
            try:
                shard = await open_shard(conn, self._origin)
            except NeedsPerson as error:
                log.error("ledger.not_placed", code=error.code, why=error.message, remedy=error.remedy)
                raise
            moved: list[_Moved] = []
            if not self._others_ended or not shard.size:  # a log that begins is after another, in a restored backup too
                self._others_ended = False
                moved = await self._take_over(conn, unsigned)
            done = await grow(conn, shard, at_most=self._at_most)
        self._others_ended = True
        for each in moved:
            each.say()
        if done.entries:
            metrics.LEDGER_PLACED.observe(done.waited_s)
        return done.entries

    async def _have_others_signed(self) -> dict[str, str]:
        """Has the logs of other origins signed to their ends, where their signer is this one and agrees; of the others
        why not. Raises what may pass."""
        async with self._db.transaction(None) as conn:
            tails = await unsigned_tails(conn, self._origin)
        unsigned: dict[str, str] = {}
        for each in tails:
            try:
                await self._publish(each.shard)
            except DiwanError as error:
                if error.code not in _NEVER_SIGNED:
                    raise
                if error.code in _BEHIND and await self._grew(each.shard):
                    raise _still_grows(each.shard) from None
                unsigned[each.shard.name] = error.code
        return unsigned

    async def _take_over(self, conn: Connection, unsigned: Mapping[str, str]) -> list[_Moved]:
        """What no checkpoint covers of the logs before waits for a place in this one, which is locked."""
        tails = await unsigned_tails(conn, self._origin)
        for each in tails:
            if each.shard.name not in unsigned:
                raise _still_grows(each.shard)
        return [_Moved(each, await move_tail(conn, each.shard.name), unsigned[each.shard.name]) for each in tails]

    async def publish_once(self) -> int:
        """Has every shard of this origin signed that is not as it was signed last, or by another key than signs now; 0:
        nothing more to do now.

        One that is refused keeps no other from being signed: the first error is raised at the end.
        """
        async with self._db.transaction(None) as conn:
            there = [shard for shard in await shards(conn) if shard.origin.rpartition("/")[0] == self._origin]
        now = await self._signing_now()
        refused: DiwanError | None = None
        for shard in there:
            metrics.LEDGER_SIZE.set(shard.size, shard.name)
            if not self._stands(shard, now.get(shard.origin)):
                try:
                    self._signed[shard.name] = await self._publish(shard)
                except DiwanError as error:
                    if error.code in _BEHIND and await self._grew(shard):
                        continue  # another sequencer placed more meanwhile, and had it signed
                    log.error("ledger.not_signed", shard=shard.name, size=shard.size, code=error.code)
                    refused = refused or error
        if refused is not None:
            raise refused
        return 0

    def _stands(self, shard: Shard, key: VerifierKey | None) -> bool:
        """Compared with what the signer said, not with what the database has of it: that may be an old backup."""
        signed = self._signed.get(shard.name)
        return (
            signed is not None
            and signed.checkpoint == Checkpoint(shard.origin, shard.size, shard.root)
            and (key is None or signed.note.by(key) is not None)
        )

    async def _signing_now(self) -> dict[str, VerifierKey]:
        """By log. Asked in every pass: a key may be exchanged while nothing grows. A signer that does not
        say holds nothing up by that: whoever has something to have signed hears of it."""
        try:
            found = await self._signer.keys()
        except DiwanError:
            return {}
        return {key.name: key for key in map(parse_vkey, found.keys)}

    async def _grew(self, shard: Shard) -> bool:
        async with self._db.transaction(None) as conn:
            return any(each.name == shard.name and each.size > shard.size for each in await shards(conn))

    async def _publish(self, shard: Shard) -> _Signed:
        """Raises `NeedsPerson` where the signer knows of a longer log (the database is older than what was signed), or
        of none though it signed this one: it would begin anew, and sign whatever history."""
        signed = self._signed.get(shard.name)
        metrics.LEDGER_SIGNED.set(0 if signed is None else signed.checkpoint.size, shard.name)
        async with self._db.transaction(None) as conn:  # before the signer is asked: it knows of all that is there now
            on_record = await published(conn, shard.name)
        before = await self._signer.last(shard.origin)
        if before is None and on_record is not None:
            raise _forgot(on_record)
        old = 0 if before is None else parse_checkpoint(parse_note(before).text).size
        metrics.LEDGER_SIGNED.set(old, shard.name)
        if old > shard.size:
            raise went_back(shard.size, old)
        checkpoint = Checkpoint(shard.origin, shard.size, shard.root)
        async with self._db.transaction(None) as conn:
            proof = await read_tree(
                conn, shard.name, checkpoint.size, lambda node: consistency_proof(old, checkpoint.size, node)
            )
        note = await self._signer.sign(checkpoint, proof)
        async with self._db.transaction(None) as conn:
            await publish(conn, Published(shard.name, checkpoint.size, checkpoint.root, note))
        metrics.LEDGER_SIGNED.set(checkpoint.size, shard.name)
        return _Signed(checkpoint, parse_note(note))


def _still_grows(shard: Shard) -> Unavailable:
    return Unavailable(
        "ledger.still_grows",
        f"The log {shard.origin} still grows, under another origin than this sequencer's.",
        "Stop the sequencers of the other DIWAN_LEDGER_ORIGIN.",
    )


def _forgot(signed: Published) -> NeedsPerson:
    return NeedsPerson(
        "ledger.signer_forgot",
        f"The signer knows nothing of the log {signed.shard}, though a checkpoint of {signed.size} entries was signed.",
        "Restore the signer's folder from its own backup; where there is none, begin a new log by another "
        "DIWAN_LEDGER_ORIGIN. docs/ledger.md says how.",
    )
