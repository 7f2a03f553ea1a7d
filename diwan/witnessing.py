"""Asks witnesses outside to cosign what the log's key signed (c2sp.org/tlog-witness), and keeps what they answer.

Each witness is asked by a loop of its own, so one that is away delays its own cosignature and nothing else: not the
tree, not checkpoints, not the others. All are asked about the same checkpoint, one every few seconds, so that their
cosignatures come together. What a witness refuses is for a person to see: it may be right.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import structlog

from diwan import metrics
from diwan.domain.errors import DiwanError, InvalidInput, NeedsPerson, Tampered, Unavailable
from diwan.ledger.checkpoint import Checkpoint, cosigned_at, parse_checkpoint
from diwan.ledger.note import Note, Signature, parse_lines, parse_note
from diwan.ledger.policy import Policy, Witness
from diwan.ledger.tree import consistency_proof
from diwan.ledger.witnessed import Growth
from diwan.store.database import Database
from diwan.store.ledger_cosigned import cosigned_by, keep_cosignature
from diwan.store.ledger_tree import Published, published, read_tree, shards

log = structlog.get_logger()

PACE_S = 2.0
_TIMEOUT_S = 10.0
_MOST_BYTES = 64 * 1024  # of an answer
_SIZE = re.compile(rb"(0|[1-9]\d{0,15})\n")
# What a witness's refusal means: machine name, and what a person is told.
_SPLIT_VIEW = 422
_REFUSALS = {
    403: ("witness.does_not_trust", "it does not count our key: tell it the one that signs now (`diwan ledger vkey`)"),
    404: ("witness.does_not_follow", "it does not follow this log: its operator adds it by the log's key"),
    _SPLIT_VIEW: (
        "witness.split_view",
        "what it cosigned before is not how this log begins: somebody shows two histories",
    ),
}


def http_client() -> httpx.AsyncClient:
    """By no proxy, and never to another address than a witness's own."""
    headers = {"accept-encoding": "identity"}
    return httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False, headers=headers)


class Witnessing:
    """`db` connects as diwan_sequencer; `origin` begins the names of the logs; `clock` counts seconds."""

    def __init__(
        self,
        db: Database,
        http: httpx.AsyncClient,
        policy: Policy,
        origin: str,
        clock: Callable[[], float],
        *,
        pace_s: float = PACE_S,
    ) -> None:
        self.witnesses = tuple(each for each in policy.witnesses if each.url)
        for each in self.witnesses:
            if urlsplit(each.url).scheme not in ("http", "https") or not urlsplit(each.url).hostname:
                raise InvalidInput(
                    "witness.bad_url", f"The address of the witness {each.name} is none.", "It begins with https://."
                )
        self._db, self._http, self._origin, self._clock, self._pace_s = db, http, origin, clock, pace_s
        self._turn = asyncio.Lock()
        self._chosen: list[Published] = []
        self._chosen_at: float | None = None
        self._known: dict[tuple[str, str], int] = {}
        self._why: dict[tuple[str, str], str] = {}
        self._refused_end: set[tuple[str, str]] = set()

    async def ask_once(self, witness: Witness) -> int:
        """Has every log's last checkpoint cosigned that this witness has not cosigned; 0: nothing more to do now.

        The first error is raised when all were tried: `Unavailable` where it does not answer, `NeedsPerson` where it
        refuses.
        """
        failed: DiwanError | None = None
        for target in await self._targets():
            try:
                await self._ask(witness, target)
            except DiwanError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return 0

    async def _targets(self) -> list[Published]:
        """What all witnesses are asked about now."""
        async with self._turn:
            now = self._clock()
            if self._chosen_at is None or now - self._chosen_at >= self._pace_s:
                async with self._db.transaction(None) as conn:
                    found = [await published(conn, each.name) for each in await shards(conn)]
                self._chosen = [each for each in found if each is not None and each.size]
                self._chosen_at = now
            return self._chosen

    async def _ask(self, witness: Witness, target: Published) -> None:
        note, which = parse_note(target.note), (witness.name, target.shard)
        checkpoint = parse_checkpoint(note.text)
        if which not in self._known:
            async with self._db.transaction(None) as conn:
                self._known[which] = await cosigned_by(conn, target.shard, witness.key)
        cosigned, left = self._known[which], checkpoint.origin.rpartition("/")[0] != self._origin
        if left and (not cosigned or which in self._refused_end):
            return  # of a log that was left its end alone is asked for, of those who followed it, once
        metrics.LEDGER_WITNESSED.set(cosigned, target.shard, witness.name)
        if cosigned >= checkpoint.size:
            return
        signed = tuple(line for line in note.signatures if line.name == checkpoint.origin)
        try:
            line = await self._cosigned(witness, target.shard, checkpoint, signed, cosigned)
        except NeedsPerson as error:
            if left:
                self._refused_end.add(which)
                log.error(
                    "ledger.witness_refuses", witness=witness.name, shard=target.shard, code=error.code, left=True
                )
                return
            self._refused(witness, target, error)
            raise
        if line is None:
            return
        async with self._db.transaction(None) as conn:
            await keep_cosignature(conn, target.shard, checkpoint, signed, line)
        self._known[which] = checkpoint.size
        metrics.LEDGER_WITNESSED.set(checkpoint.size, target.shard, witness.name)
        if self._why.get(which) != _FORGOT:  # which stays to be seen, though the witness has been told again
            self._said(witness, target.shard, "")

    async def _cosigned(
        self, witness: Witness, shard: str, checkpoint: Checkpoint, signed: tuple[Signature, ...], cosigned: int
    ) -> Signature | None:
        """The witness's verified line. None where it has seen more than this already, by another sequencer of ours."""
        old, note, answered = cosigned, Note(checkpoint.text, signed), 0
        for _ in range(2):
            growth = Growth(old, tuple(await self._proof(shard, old, checkpoint.size)), note)
            answered, content = await self._post(witness, bytes(growth))
            if answered == 200:
                return _line_of(witness, note, content)
            size = _SIZE.fullmatch(content)
            if answered == 409 and old == checkpoint.size and (size is None or int(size[1]) == old):
                answered = _SPLIT_VIEW  # of as many entries it knows another root: the same status, and no other size
            if answered in _REFUSALS:
                code, why = _REFUSALS[answered]
                raise NeedsPerson(code, f"The witness {witness.name} refuses: {why}.", "docs/witnesses.md says more.")
            if answered != 409 or size is None:
                break
            old = int(size[1])
            if old > checkpoint.size:
                await self._has_it(witness, shard, old)
                return None
            if old < cosigned:
                error = NeedsPerson(
                    _FORGOT, f"The witness {witness.name} cosigned {cosigned} entries and says {old} now.", ""
                )
                self._said(witness, shard, error.code, cosigned=cosigned, says=old)
        raise Unavailable("witness.answer_unexpected", f"The witness {witness.name} answered {answered}.", "")

    async def _proof(self, shard: str, old: int, size: int) -> list[bytes]:
        async with self._db.transaction(None) as conn:
            return await read_tree(conn, shard, size, lambda node: consistency_proof(old, size, node))

    async def _has_it(self, witness: Witness, shard: str, seen: int) -> None:
        """Raises unless the log has as many entries as the witness has seen: whatever was cosigned was on record."""
        async with self._db.transaction(None) as conn:
            last = await published(conn, shard)
        if last is None or last.size < seen:
            raise NeedsPerson(
                "witness.saw_more",
                f"The witness {witness.name} cosigned {seen} entries, more than the log has.",
                "Entries were lost, as by restoring an old backup. docs/ledger.md says what to do.",
            )

    async def _post(self, witness: Witness, content: bytes) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S):
                url = witness.url.rstrip("/") + "/add-checkpoint"
                async with self._http.stream("POST", url, content=content) as answered:
                    # Never unpacked: what is bounded would be in memory before it could be counted.
                    if answered.headers.get("content-encoding", "identity") != "identity":
                        raise Unavailable("witness.answer_packed", f"The witness {witness.name} packs its answers.", "")
                    found = bytearray()
                    async for chunk in answered.aiter_raw():
                        found += chunk
                        if len(found) > _MOST_BYTES:
                            break
                    return answered.status_code, bytes(found)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(
                "witness.not_answering", f"The witness {witness.name} does not answer ({type(error).__name__}).", ""
            ) from None

    def _refused(self, witness: Witness, target: Published, error: NeedsPerson) -> None:
        self._said(witness, target.shard, error.code, size=target.size)

    def _said(self, witness: Witness, shard: str, code: str, **figures: int) -> None:
        """What a person sees: a line in the log when it changes, and a figure for as long as it is so."""
        which, why = (witness.name, shard), code.removeprefix("witness.")
        before = self._why.get(which, "")
        if before and before != code:
            metrics.LEDGER_REFUSED.set(0, shard, witness.name, before.removeprefix("witness."))
        if code:
            metrics.LEDGER_REFUSED.set(1, shard, witness.name, why)
            log.error("ledger.witness_refuses", witness=witness.name, shard=shard, code=code, **figures)
        self._why[which] = code


_FORGOT = "witness.forgot"


def _line_of(witness: Witness, note: Note, content: bytes) -> Signature:
    """The line of the witness's key, of those it answered; others are ignored. Raises `Unavailable` for none that is
    right."""
    try:
        lines = [
            line for line in parse_lines(content) if (line.name, line.key_id) == (witness.key.name, witness.key.id)
        ]
        if lines and cosigned_at(note.with_lines(lines), witness.key) is not None:
            return lines[0]
    except Tampered:
        pass
    raise Unavailable(
        "witness.wrong_signature", f"The witness {witness.name} answered, not with a signature of its key.", ""
    )
