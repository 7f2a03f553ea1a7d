"""What is sealed beside a header: of today, and of before fields were committed to one by one."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from diwan.domain.errors import Final, Tampered
from diwan.domain.ports import RetentionClass
from diwan.ledger.entry import canonical, commit, commit_digest, digest_of
from diwan.ledger.fields import commit_fields
from diwan.store.entries import RESERVED, EntryDraft, Place, body_context, build_entry
from diwan.store.opened_entry import OpenedEntry, open_entry
from tests.support.factories import CLERK
from tests.support.keyring import MemoryKeyring

SALT, BODY = bytes(range(32)), {"reason": "x"}
DIGEST = digest_of(canonical(BODY))


def test_an_entry_of_before_is_what_it_was() -> None:
    said = {"body": commit(SALT, canonical(BODY))}
    OpenedEntry({"body": (SALT, DIGEST)}, BODY, None).check(said)
    for other in (
        OpenedEntry({"body": (SALT, DIGEST)}, {"reason": "y"}, None),
        OpenedEntry({}, BODY, None),
        OpenedEntry({"body": (SALT, DIGEST), "more": (SALT, DIGEST)}, BODY, None),
        OpenedEntry({"body": (SALT, DIGEST)}, BODY, SALT),
        OpenedEntry({"body": (SALT[:-1], DIGEST)}, BODY, None),
    ):
        with pytest.raises(Tampered):
            other.check(said)


def test_an_entry_of_today_binds_its_body_by_fields() -> None:
    said = {"fields": commit_fields(SALT, BODY), "event": commit_digest(SALT, DIGEST)}
    OpenedEntry({"event": (SALT, DIGEST)}, BODY, SALT).check(said)
    for other in (
        OpenedEntry({"event": (SALT, DIGEST)}, {"reason": "y"}, SALT),
        OpenedEntry({"event": (SALT, DIGEST)}, BODY, DIGEST),
        OpenedEntry({"event": (SALT, DIGEST)}, None, SALT),
        OpenedEntry({}, BODY, SALT),
    ):
        with pytest.raises(Tampered):
            other.check(said)


@pytest.mark.parametrize(
    "sealed",
    [b"x", b"[]", b"{}", b'{"committed":[]}', b'{"committed":{"a":["AA"]}}', b'{"committed":{},"seed":7}'],
)
async def test_what_is_not_what_we_seal_does_not_open(keyring: MemoryKeyring, sealed: bytes) -> None:
    cipher = await keyring.cipher("demo", "c1")
    kept = cipher.seal(RetentionClass.DECISION, body_context("c1", 1), sealed)
    with pytest.raises(Tampered):
        open_entry(cipher, "c1", 1, kept)


@pytest.mark.parametrize("name", sorted(RESERVED))
async def test_nobody_commits_to_something_else_under_a_bodys_name(keyring: MemoryKeyring, name: str, now: Any) -> None:
    cipher = await keyring.cipher("demo", "c1")
    draft = EntryDraft("case:test:written", CLERK, cipher=cipher, commitments={name: b"x"})
    with pytest.raises(Final):
        build_entry(draft, Place("demo", "c1", 1, None, "c1"), now)


async def test_the_seed_alone_is_sealed_with_a_body(keyring: MemoryKeyring, now: Any) -> None:
    cipher = await keyring.cipher("demo", "c1")
    built = build_entry(
        EntryDraft("case:test:written", CLERK, cipher=cipher, body=BODY), Place("demo", "c1", 1, None, "c1"), now
    )
    kept: Any = built.parameters["e_body_sealed"]
    said = orjson.loads(cipher.open(RetentionClass.DECISION, body_context("c1", 1), kept))
    assert said.keys() == {"body", "committed", "seed"}
    assert (said["body"], said["committed"], len(base64.b64decode(said["seed"]))) == (BODY, {}, 32)
    header: Any = built.parameters["e_header"]
    open_entry(cipher, "c1", 1, kept).check(orjson.loads(header)["commitments"])
