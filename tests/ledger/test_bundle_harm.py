"""Whoever packs a bundle means harm: the list of files is right, what is in them is not."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diwan.ledger.bundle import pack
from diwan.ledger.entry import canonical, commit_digest
from diwan.ledger.note import new_key
from diwan.standalone import verify_bundle
from diwan.standalone.verify_bundle import Failed, verify
from tests.ledger.bundles import ENTRIES, HASH, HISTORY, LOG, OLD, RUN, SEEN_BY, TOLD, Saved, bundle
from tests.ledger.logs import MemoryLog, cosigned


def repacked(change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(pack(bundle()))) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    cover = json.loads(files.pop("bundle.json"))
    change(files)
    cover["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    cover["entries"] = sum(name.startswith("entries/") for name in files)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("bundle.json", json.dumps(cover))
        for name, content in files.items():
            packed.writestr(name, content)
    return made.getvalue()


def _changed(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


def _without(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        del files[name]

    return change


def _cut(files: dict[str, bytes]) -> None:
    """The last entry gone, cleanly: what is left is a smaller case. Only a count on the ledger would tell."""
    del files[f"entries/{ENTRIES:06d}.json"], files[f"bodies/{ENTRIES:06d}.json"], files[f"histories/Case-{RUN}.json"]


def _first_gone(files: dict[str, bytes]) -> None:
    for number in range(1, ENTRIES):
        files[f"entries/{number:06d}.json"] = files[f"entries/{number + 1:06d}.json"]
    del files[f"entries/{ENTRIES:06d}.json"]


def _exchanged(files: dict[str, bytes]) -> None:
    one, two = "entries/000004.json", "entries/000005.json"
    files[one], files[two] = files[two], files[one]


def _other_signature(files: dict[str, bytes]) -> None:
    files["checkpoints/2026.note"] = bytes(cosigned(MemoryLog(new_key(LOG.key.name)).checkpoint(), SEEN_BY))


def _other_body(files: dict[str, bytes]) -> None:
    files["bodies/000001.json"] = files["bodies/000002.json"]


def _body(number: int, change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, bytes]], None]:
    """What an entry discloses, changed with care."""

    def changed(files: dict[str, bytes]) -> None:
        name = f"bodies/{number:06d}.json"
        said = json.loads(files[name])
        change(said)
        assert canonical(said) != canonical(json.loads(files[name]))
        files[name] = canonical(said)

    return changed


def _hidden_as(value: object) -> Callable[[dict[str, Any]], None]:
    """A hidden field, said to be `value` under a salt of the packer's."""

    def change(said: dict[str, Any]) -> None:
        said["body"]["granted"] = value
        said["fields"]["/granted"] = {"salt": said["fields"]["/reason"]["salt"]}

    return change


FIELDS: dict[str, tuple[int, Callable[[dict[str, Any]], object]]] = {
    "a field says something else": (2, lambda said: said["body"].update(granted=False)),
    "a field is of another type": (2, lambda said: said["body"].update(granted=1)),
    "a field of a field says something else": (2, lambda said: said["body"]["nested"].update(a=False)),
    "a field more, of no pointer": (2, lambda said: said["body"].update(more=1)),
    "a field of a field more, of no pointer": (2, lambda said: said["body"]["nested"].update(c=1)),
    "a field less": (2, lambda said: said["body"].pop("granted")),
    "a field less, and its pointer": (2, lambda said: (said["body"].pop("ids"), said["fields"].pop("/ids"))),
    "a pointer of nothing more": (8, lambda said: said["fields"].update({"/more": said["fields"]["/granted"]})),
    "a pointer above others": (8, lambda said: said["fields"].update({"/nested": said["fields"]["/granted"]})),
    "a pointer that is none": (8, lambda said: said["fields"].update({"granted": said["fields"].pop("/granted")})),
    "a hidden field made up": (8, _hidden_as(False)),
    "a hidden field said as it was": (8, _hidden_as(True)),
    "a hidden field beside its commitment": (8, lambda said: said["body"].update(granted=True)),
    "a hidden field's commitment is another's": (
        8,
        lambda said: said["fields"].update({"/granted": said["fields"]["/nested/b"]}),
    ),
    "a hidden field dropped": (8, lambda said: said["fields"].pop("/granted")),
    "salts exchanged": (2, lambda said: said["fields"].update({"/ids": said["fields"]["/reason"]})),
    "a salt of no length": (2, lambda said: said["fields"]["/ids"].update(salt="")),
    "salt and commitment at once": (8, lambda said: said["fields"]["/reason"].update(said["fields"]["/granted"])),
    "no fields": (2, lambda said: said.pop("fields")),
    "no body": (2, lambda said: said.pop("body")),
    "fields opened as a value": (2, lambda said: said["committed"].update(fields=said["committed"]["state_after"])),
    "fields of an entry that has a whole body": (OLD, lambda said: said.update(fields={})),
    "the whole body is another": (OLD, lambda said: said["body"].update(granted=False)),
    "the whole body is gone": (OLD, lambda said: said.pop("body")),
    "the whole body is not opened": (OLD, lambda said: said["committed"].pop("body")),
}


HARM: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "an entry says something else": (_changed("entries/000002.json", b"moved", b"mover"), "entry.link_differs"),
    "the last entry says something else": (
        _changed(f"entries/{ENTRIES:06d}.json", b"history:kept", b"history:kepp"),
        "entry.not_included",
    ),
    "an entry is written otherwise": (_changed("entries/000002.json", b'"v":1', b'"v": 1'), "entry.not_canonical"),
    "a number is a fraction": (_changed("entries/000002.json", b'"v":1', b'"v":1.0'), "json.unreadable"),
    "a number is beyond 53 bits": (
        _changed("entries/000002.json", b'"v":1', b'"v":9007199254740993'),
        "json.unreadable",
    ),
    "a name twice": (_changed("entries/000002.json", b'"v":1', b'"v":1,"v":1'), "json.unreadable"),
    "the first entry is gone": (_first_gone, "entry.other_place"),
    "two entries are exchanged": (_exchanged, "entry.other_place"),
    "an entry in the middle is gone": (_without("entries/000004.json"), "entry.missing"),
    "a reason is another": (_changed("bodies/000002.json", "سبب".encode(), b"why"), "body.differs"),
    "a salt is another": (_changed("bodies/000002.json", b'"salt":"', b'"salt":"AAAA'), "body.differs"),
    "what another entry commits to": (_other_body, "body.differs"),
    "a body of no entry": (lambda files: files.update({"bodies/000099.json": b"{}"}), "body.differs"),
    "more beside what is committed to": (
        _changed("bodies/000002.json", b'{"body"', b'{"decision":"granted","body"'),
        "body.differs",
    ),
    "two checkpoints of one log": (
        lambda files: files.update({"checkpoints/2026-2.note": files["checkpoints/2026.note"]}),
        "checkpoint.twice",
    ),
    "a body of an entry that commits to nothing": (
        lambda files: files.update({"bodies/000003.json": b'{"committed": {}, "body": {}}'}),
        "body.differs",
    ),
    "the procedure is another": (
        lambda files: files.update({f"procedures/{HASH}.yaml": b"name: autre\n"}),
        "procedure.differs",
    ),
    "a history is another": (_changed(f"histories/Case-{RUN}.json", b"events", b"Events"), "history.differs"),
    "a history of no entry": (
        lambda files: files.update({f"histories/Rerun-{RUN}.json": HISTORY}),
        "history.differs",
    ),
    "a place is another": (_changed("places.json", b'"index": ', b'"index": 1'), "entry.not_included"),
    "a checkpoint by another key": (_other_signature, "checkpoint.no_log"),
    "a checkpoint of another size": (
        _changed("checkpoints/2026.note", f"\n{len(LOG.entries)}\n".encode(), b"\n26\n"),
        "checkpoint.signature",
    ),
    "no checkpoint": (_without("checkpoints/2026.note"), "bundle.no_place"),
    **{name: (_body(number, change), "body.differs") for name, (number, change) in FIELDS.items()},
    "fields that are a list": (_body(2, lambda said: said.update(fields=list(said["fields"]))), "json.unreadable"),
    "values committed to that are a text": (_body(2, lambda said: said.update(committed="all")), "json.unreadable"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_bundle_that_was_changed_with_care_does_not_hold(saved: Saved, policy: Path, harm: str) -> None:
    change, code = HARM[harm]
    with pytest.raises(Failed) as failed:
        verify(saved(repacked(change)), policy)
    assert failed.value.code == code


def test_fields_that_were_committed_to_in_bad_faith(saved: Saved, policy: Path) -> None:
    """Whoever writes the entry may bind what he likes: one field twice, under a name and below it, is still refused."""
    salt, hidden = bytes(32), hashlib.sha256(b"otherwise").digest()
    shown = {"salt": base64.b64encode(salt).decode()}
    kept = {"commitment": base64.b64encode(hidden).decode()}
    bound = {"/a/b": commit_digest(salt, hashlib.sha256(b"1").digest())}
    whole = hashlib.sha256(canonical(bound)).hexdigest()
    body: dict[str, Any] = {"fields": {"/a/b": shown}, "body": {"a": {"b": 1}}}
    assert verify_bundle.fields_of(1, body, whole) == []
    for pointer in ("/a", "/A", "/a/b/c"):
        twice = hashlib.sha256(canonical(bound | {pointer: hidden.hex()})).hexdigest()
        with pytest.raises(Failed) as failed:
            verify_bundle.fields_of(1, body | {"fields": body["fields"] | {pointer: kept}}, twice)
        assert failed.value.code == "body.differs"
    for part in ("commitment", ["commitment"], {}, None, shown | {"more": ""}):
        with pytest.raises(Failed) as failed:
            verify_bundle.fields_of(1, body | {"fields": {"/a/b": part}}, whole)
        assert failed.value.code in ("body.differs", "json.unreadable")


def test_values_may_be_kept_back_one_by_one(saved: Saved, policy: Path) -> None:
    """Salt and digest of a value tell it to whoever can guess it, so they may stay away; that is said."""
    content = repacked(_body(2, lambda said: said["committed"].pop("state_after")))
    assert "2:state_after" in verify(saved(content), policy).kept_back


def test_a_bundle_that_was_cut_at_its_end_is_a_smaller_one(saved: Saved, policy: Path) -> None:
    """Said in docs/ledger.md: whoever needs the end asks for the log's newest checkpoint, or a second bundle."""
    assert verify(saved(repacked(_cut)), policy).entries == ENTRIES - 1


def test_no_byte_of_a_bundle_can_be_changed(saved: Saved, policy: Path) -> None:
    content, dice = pack(bundle()), random.Random(6962)  # noqa: S311 - to be repeated
    honest = verify(saved(content), policy)
    for _ in range(150):
        changed = bytearray(content)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        try:
            found = verify(saved(bytes(changed)), policy)
        except Failed:
            continue
        assert found == honest  # a zip has bytes that say nothing: times, attributes


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["../outside"], "bundle.names"),
        (["/etc/passwd"], "bundle.names"),
        (["a b"], "bundle.names"),
        (["twice", "twice"], "bundle.names"),
        (["more"], "bundle.names"),
        (["letters/decision.pdf"], "bundle.names"),
        (["bodies/000099.json"], "bundle.files"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_that_no_bundle_has(saved: Saved, policy: Path, names: list[str], code: str) -> None:
    content = io.BytesIO(pack(bundle()))
    with zipfile.ZipFile(content, "a") as packed:
        for name in names:
            packed.writestr(name, b"x")
    with pytest.raises(Failed) as failed:
        verify(saved(content.getvalue()), policy)
    assert failed.value.code == code


def test_a_number_that_would_write_over_the_answer(saved: Saved, policy: Path) -> None:
    with pytest.raises(Failed) as failed:
        verify(saved(pack(bundle(told=TOLD | {"number": "X\nholds: everything"}))), policy)
    assert failed.value.code == "bundle.format"


def test_a_file_that_is_larger_than_it_says(saved: Saved, policy: Path) -> None:
    content = bytearray(pack(bundle(pages={"story.html": b"x" * 1_000_000})))
    size, claimed = (1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert content.count(size) == 2
    with pytest.raises(Failed) as failed:
        verify(saved(bytes(content.replace(size, claimed))), policy)
    assert failed.value.code == "bundle.unreadable"


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000, pack(bundle())[:-30]])
def test_what_is_no_zip(saved: Saved, policy: Path, content: bytes) -> None:
    with pytest.raises(Failed) as failed:
        verify(saved(content), policy)
    assert failed.value.code == "bundle.unreadable"
