"""Which keys signed the log, and from when to when: read off the checkpoints that are kept, the last of each hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from diwan.ledger.note import parse_note
from diwan.ledger.policy import Policy
from diwan.store.connection import Connection


@dataclass(frozen=True, slots=True)
class KeySeen:
    """A key by what its lines name it, and the first and the last checkpoint that is kept with one.

    `trusted`: it is a policy's, and all its lines are its own.
    """

    log: str
    key: str
    first_size: int
    first_at: datetime
    last_size: int
    last_at: datetime
    trusted: bool


async def keys_seen(conn: Connection, policy: Policy | None = None) -> list[KeySeen]:
    """Of all logs, the oldest first. Raises `Tampered` where a line of one of the policy's keys is not its own."""
    mine = {(key.name, key.id) for key in policy.logs} if policy else set[tuple[str, bytes]]()
    found: dict[tuple[str, bytes], KeySeen] = {}
    for row in await conn.execute(_KEPT):
        note = parse_note(row.note)
        lines = {(each.name, each.key_id) for each in note.signatures if each.name == row.origin}
        if policy and lines & mine:
            policy.signed(note)
        for line in sorted(lines):
            was = found.get(line)
            first = (row.size, row.published_at) if was is None else (was.first_size, was.first_at)
            found[line] = KeySeen(
                row.origin, f"{line[0]}+{line[1].hex()}", *first, row.size, row.published_at, line in mine
            )
    return list(found.values())


_KEPT = text(
    "SELECT s.origin, c.size, c.note, c.published_at FROM ledger_checkpoint c JOIN ledger_shard s ON s.name = c.shard "
    "ORDER BY s.opened_at, c.hour"
)
