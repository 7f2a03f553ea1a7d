"""A bundle of nine entries that holds, of a log in memory, and what it is made of."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from diwan.ledger.bundle import Bundle, Opened, PlacedEntry
from diwan.ledger.entry import canonical, commit_digest, entry_hash
from diwan.ledger.fields import commit_fields, disclose, named
from diwan.ledger.tree import inclusion_proof
from tests.ledger.logs import MemoryLog, cosigned, witness

Saved = Callable[[bytes], Path]  # what the fixture `saved` gives

PROCEDURE = "name: aide\nétape: examen\n".encode()
HASH = hashlib.sha256(PROCEDURE).hexdigest()
ENTRIES = 9
# The last two: one that closes the case, one that tells of the history that is kept of its run.
RUN = "01a2196b-2cc3-7bf6-b83e-18520fc22cd3"
HISTORY = b'{"events": []}'
KEPT_RUN = {"type": "Case", "run": RUN, "digest": hashlib.sha256(HISTORY).hexdigest()}
LAST: dict[int, dict[str, object]] = {
    ENTRIES - 1: {"detail": {"closes": True, "entries": ENTRIES - 1}},
    ENTRIES: {"kind": "case:history:kept", "detail": KEPT_RUN},
}
SEEN_BY = witness("court.example")


OLD = 6  # an entry of before fields were committed to one by one
KEPT_BACK = 8


def chain(last: Mapping[int, Mapping[str, object]]) -> list[tuple[bytes, Opened | None]]:
    """Entries of a case, as the service writes them: the third commits to nothing, one discloses half of itself."""
    made: list[tuple[bytes, Opened | None]] = []
    previous: bytes | None = None
    for seq in range(1, ENTRIES + 1):
        body = {"reason": f"سبب {seq}", "ids": [1, 2], "nested": {"b": None, "a": True}, "granted": True}
        seed = secrets.token_bytes(32)
        values = {"state_after": f"state {seq}".encode(), **({"body": canonical(body)} if seq == OLD else {})}
        opened = {name: (secrets.token_bytes(32), hashlib.sha256(value).digest()) for name, value in values.items()}
        commitments = {name: commit_digest(*pair) for name, pair in opened.items()}
        if seq != OLD:
            commitments["fields"] = commit_fields(seed, body)
        said = {
            **{"v": 1, "tenant": "demo", "chain": "c1", "seq": seq, "case": "c1", "case_seq": seq},
            **{"at": f"2026-11-27T09:00:{seq:02d}.000000Z", "kind": "case:step:moved", "procedure_hash": HASH},
            "actor": {"kind": "rule", "subject": "règle"},
            **({"prev": previous.hex()} if previous else {}),
            **({} if seq == 3 else {"commitments": commitments}),
            **last.get(seq, {}),
        }
        header = canonical(said)
        hide = named(["/nested/b", "/granted"] if seq == KEPT_BACK else [])
        fields = disclose(seed, body, lambda pointer, hide=hide: not hide(pointer))
        whole = Opened(opened, body) if seq == OLD else Opened({} if seq == KEPT_BACK else opened, fields=fields)
        made.append((header, None if seq == 3 else whole))
        previous = entry_hash(header)
    return made


LOG = MemoryLog()
CHAIN = chain(LAST)
PLACES: list[int] = []
for _header, _ in CHAIN:
    LOG.add(secrets.token_bytes(50), _header, secrets.token_bytes(9))  # others' entries lie between
    PLACES.append(len(LOG.entries) - 2)
NOTE = cosigned(LOG.checkpoint(), SEEN_BY)
TOLD = {"tenant": "demo", "case": "c1", "number": "DW-2026-000001", "language": "ar", "made_at": "now", "made_by": "a"}


def bundle(**changed: object) -> Bundle:
    size = len(LOG.entries)
    entries = [
        PlacedEntry(header, "2026", at, tuple(inclusion_proof(at, size, LOG.node(size).node)), opened)
        for at, (header, opened) in zip(PLACES, CHAIN, strict=True)
    ]
    fields: dict[str, object] = {
        **{"told": TOLD, "entries": entries, "notes": {"2026": bytes(NOTE)}},
        **{"procedures": {HASH: PROCEDURE}, "pages": {"story.html": b"<p>"}, "histories": {f"Case-{RUN}": HISTORY}},
    }
    return Bundle(**fields | changed)  # type: ignore[arg-type]
