"""What was signed against the delegation under which it was signed: terms as the entry says them, and as they stand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from sqlalchemy import text

from diwan.domain.errors import NotFound, Tampered
from diwan.domain.ports import Cipher
from diwan.ledger.twins import CaseData, Found, Said
from diwan.store.connection import Connection
from diwan.store.delegations import Delegation, delegations_of
from diwan.store.opened_entry import open_entry


async def compare_signatures(
    conn: Connection, tenant: str, data: CaseData, cipher: Cipher | None, found: Found
) -> None:
    """No `cipher`: terms are only counted. What was signed before entries said the terms is counted, too."""
    signed = [each for each in data.of("task:act:recorded") if "delegation" in each.detail]
    stands = await delegations_of(conn, tenant) if signed else {}
    for entry in signed:
        where = str(entry.detail["delegation"])
        under = stands.get(where)
        if under is None:
            found.find("delegation.row_missing", where, f"entry {entry.seq} was signed under it, and its row is gone")
            continue
        if under.revoked_on is not None and under.revoked_on < _earliest_day(entry):
            text_ = f"revoked on {under.revoked_on}, and entry {entry.seq} was signed under it later"
            found.find("delegation.revoked_before", where, text_)
        if cipher is None:
            found.counts["signatures not opened"] += 1
            continue
        parameters = {"tenant": tenant, "case": data.id, "seq": entry.seq}
        sealed = (await conn.execute(_SEALED, parameters)).scalar_one()
        _compare(data, entry, under, cipher, sealed, found)


def _compare(data: CaseData, entry: Said, under: Delegation, cipher: Cipher, sealed: bytes, found: Found) -> None:
    try:
        opened = open_entry(cipher, data.id, entry.seq, sealed or b"")
        opened.check(entry.header.get("commitments", {}))
    except NotFound:  # whether that was told is said of the key
        found.counts["signatures erased"] += 1
        return
    except Tampered as error:
        found.find(error.code, f"entry {entry.seq}", error.message)
        return
    said = (opened.body or {}).get("delegation")
    if not isinstance(said, dict):
        found.counts["signatures that do not say their delegation's terms"] += 1
        return
    found.counts["signatures compared"] += 1
    stands = under.terms
    if differ := sorted(name for name in said.keys() | stands.keys() if said.get(name) != stands.get(name)):
        text_ = f"entry {entry.seq} was signed under other terms than stand there now: {', '.join(differ)}"
        found.find("delegation.terms_differ", under.id, text_)


def _earliest_day(entry: Said) -> date:
    """The office's own calendar may be a day behind UTC's."""
    return datetime.fromisoformat(str(entry.header["at"])).date() - timedelta(days=1)


_SEALED = text("SELECT body_sealed FROM entry WHERE tenant = :tenant AND chain = :case AND seq = :seq")
