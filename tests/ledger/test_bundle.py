"""Bundles: packed by the service's code, verified by a program that shares none, and nothing near them passes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import secrets
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput, Tampered
from diwan.ledger.bundle import Bundle, Grown, Opened, PlacedEntry, pack
from diwan.ledger.entry import canonical, commit_digest, entry_hash
from diwan.ledger.fields import commit_fields, disclose, named
from diwan.ledger.note import SigningKey, new_key, parse_note
from diwan.ledger.policy import parse_policy
from diwan.ledger.tree import consistency_proof, inclusion_proof
from diwan.standalone import verify_bundle
from diwan.standalone.verify_bundle import Failed, told_of, verify
from tests.ledger.logs import MemoryLog, cosigned, witness
from tests.support.strategies import json_of

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


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    lines = (f"log {LOG.key.verifier}", f"witness court {SEEN_BY.verifier}", "quorum court", "")
    path.write_text("\n".join(lines))
    return path


Saved = Callable[[bytes], Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(content: bytes) -> Path:
        path = tmp_path / "bundle.zip"
        path.write_bytes(content)
        return path

    return save


def test_a_bundle_holds_and_says_what_it_holds(saved: Saved, policy: Path) -> None:
    content = pack(bundle())
    assert content == pack(bundle())
    found = verify(saved(content), policy)
    assert (found.tenant, found.case, found.number) == ("demo", "c1", "DW-2026-000001")
    assert (found.entries, found.disclosed, found.withheld) == (ENTRIES, ENTRIES - 1, [])
    assert found.kept_back == ["8/granted", "8/nested/b", "8:state_after"]
    assert (found.closed_by, found.after_closing, found.histories_missing) == (ENTRIES - 1, ["case:history:kept"], [])
    assert (found.logs, found.procedures) == ({LOG.key.name: len(LOG.entries)}, [HASH])
    assert (found.first_at, found.last_at) == ("2026-11-27T09:00:01.000000Z", f"2026-11-27T09:00:{ENTRIES:02d}.000000Z")


def test_what_is_withheld_is_named_and_everything_else_holds(saved: Saved, policy: Path) -> None:
    whole = bundle()
    entries = [e if n != 4 else PlacedEntry(e.header, e.shard, e.index, e.hashes) for n, e in enumerate(whole.entries)]
    found = verify(saved(pack(bundle(entries=entries))), policy)
    assert (found.disclosed, found.withheld) == (ENTRIES - 2, [5])


def test_a_history_that_is_withheld_is_named_by_its_entry(saved: Saved, policy: Path) -> None:
    assert verify(saved(pack(bundle(histories={}))), policy).histories_missing == [ENTRIES]


@pytest.mark.parametrize(
    ("last", "closed_by"),
    [
        ({}, 0),
        ({4: {"detail": {"closes": True, "entries": 3}}}, None),
        ({n: {"detail": {"closes": True, "entries": n}} for n in (4, 5)}, None),
    ],
)
def test_a_case_is_closed_once_by_an_entry_that_counts_those_before_it(
    last: Mapping[int, Mapping[str, object]], closed_by: int | None
) -> None:
    headers = [header for header, _ in chain(last)]
    if closed_by is not None:
        assert told_of({}, headers) == ([], closed_by, [])
        return
    with pytest.raises(Failed) as caught:
        told_of({}, headers)
    assert caught.value.code == "entry.closing_differs"


def test_the_program_runs_by_itself_with_nothing_of_ours(saved: Saved, policy: Path, tmp_path: Path) -> None:
    program = tmp_path / "elsewhere" / "verify_bundle.py"
    program.parent.mkdir()
    program.write_bytes(Path(verify_bundle.__file__).read_bytes())
    assert b"import diwan" not in program.read_bytes()
    assert b"from diwan" not in program.read_bytes()
    assert len([line for line in program.read_bytes().splitlines() if line.strip()]) <= 500
    command = [sys.executable, str(program), str(saved(pack(bundle()))), str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=program.parent, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"holds: entries 1 to {ENTRIES} of case c1 of demo" in done.stdout
    assert f"not checked: story.html; that the case has the number {TOLD['number']}" in done.stdout
    assert f"that nothing follows entry {ENTRIES}" in done.stdout
    assert "8 disclosed, withheld: 8/granted, 8/nested/b, 8:state_after\n" in done.stdout
    spoilt = saved(pack(bundle(told=TOLD | {"case": "c2"})))
    done = subprocess.run(
        [*command[:2], str(spoilt), str(policy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "DOES NOT HOLD" in done.stderr


# --- whoever packs it means harm: the list of files is right, what is in them is not ----------------------------------


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
    "fields that are a list": (2, lambda said: said.update(fields=list(said["fields"]))),
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
        assert failed.value.code == "body.differs"


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


# --- witnesses, and what the auditor kept -----------------------------------------------------------------------------

OTHERS = [witness(f"{name}.example") for name in ("one", "two", "three")]


@pytest.mark.parametrize(
    ("cosigners", "quorum", "holds"),
    [
        (OTHERS[:2], "2", True),
        (OTHERS[:1], "2", False),
        ([], "any", False),
        (OTHERS, "all", True),
        (OTHERS[1:], "all", False),
        ([witness("stranger.example"), witness("another.example")], "2", False),
        ([OTHERS[0], new_key(OTHERS[1].name, 4)], "2", False),  # a key of the same name
    ],
)
def test_a_policy_that_wants_witnesses_refuses_with_fewer(
    saved: Saved, tmp_path: Path, cosigners: list[SigningKey], quorum: str, holds: bool
) -> None:
    lines = [f"log {LOG.key.verifier}", *(f"witness w{n} {each.verifier}" for n, each in enumerate(OTHERS))]
    policy = tmp_path / "policy"
    policy.write_text("\n".join([*lines, f"group all {quorum} w0 w1 w2", "quorum all", ""]))
    note = cosigned(LOG.checkpoint(), *cosigners)
    file = saved(pack(bundle(notes={"2026": bytes(note)})))
    ours = parse_policy(policy.read_bytes())
    if holds:
        assert verify(file, policy).entries == ENTRIES
        assert ours.checkpoint(note).size == len(LOG.entries)
    else:
        with pytest.raises(Failed) as failed:
            verify(file, policy)
        assert failed.value.code == "checkpoint.no_quorum"
        with pytest.raises(Tampered, match="missing"):
            ours.checkpoint(note)


def test_a_witness_counts_once_and_for_the_log_that_it_saw(saved: Saved, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    lines = [f"log {LOG.key.verifier}", *(f"witness w{n} {each.verifier}" for n, each in enumerate(OTHERS))]
    policy.write_text("\n".join([*lines, "group all 2 w0 w1 w2", "quorum all", ""]))
    once = cosigned(LOG.checkpoint(), OTHERS[0])
    elsewhere = cosigned(MemoryLog(new_key("other.example/2026")).checkpoint(), OTHERS[1])
    wrong = {
        "twice": (bytes(once) + str(cosigned(LOG.checkpoint(), OTHERS[0], seconds=9).signatures[1]).encode()),
        "of another log": bytes(once.with_lines([elsewhere.signatures[1]])),
        "of another size": bytes(once.with_lines([cosigned(LOG.checkpoint(5), OTHERS[1]).signatures[1]])),
    }
    codes: list[str] = []
    for note in wrong.values():
        with pytest.raises(Failed) as failed:
            verify(saved(pack(bundle(notes={"2026": note}))), policy)
        codes.append(failed.value.code)
        with pytest.raises(Tampered):
            parse_policy(policy.read_bytes()).checkpoint(parse_note(note))
    assert codes == ["note.malformed", "checkpoint.signature", "checkpoint.signature"]


KEPT = 7


def grown(size: int = KEPT, **changed: object) -> Bundle:
    hashes = consistency_proof(size, len(LOG.entries), LOG.node(len(LOG.entries)).node)
    return bundle(grown={"2026": Grown(bytes(LOG.checkpoint(size)), tuple(hashes))}, **changed)


def _kept(folder: Path, note: bytes) -> list[Path]:
    (folder / "kept.note").write_bytes(note)
    return [folder / "kept.note"]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 16, len(LOG.entries)])
def test_growth_from_what_the_auditor_kept_is_shown(saved: Saved, policy: Path, tmp_path: Path, size: int) -> None:
    file, kept = saved(pack(grown(size))), _kept(tmp_path, bytes(LOG.checkpoint(size)))
    assert verify(file, policy, kept).grown_from == {LOG.key.name: size}
    assert verify(file, policy).grown_from == {LOG.key.name: size}
    program = [sys.executable, verify_bundle.__file__, str(file), str(policy), str(kept[0])]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60) if size == 7 else None
    assert done is None or f"grown from a checkpoint at {size}" in done.stdout


def test_growth_that_is_not_shown_or_from_elsewhere_does_not_hold(saved: Saved, policy: Path, tmp_path: Path) -> None:
    """The log that was rewritten: signed by its own key, and not what the auditor kept a checkpoint of."""
    rewritten = MemoryLog(LOG.key)
    rewritten.add(*(b"rewritten" for _ in range(KEPT)))
    theirs, ours = bytes(rewritten.checkpoint()), bytes(LOG.checkpoint(KEPT))
    thief = bytes(MemoryLog(new_key(LOG.key.name)).checkpoint())
    honest = grown().grown["2026"]
    tried = [
        (bundle(), ours, "checkpoint.not_kept"),
        (grown(), theirs, "checkpoint.not_kept"),
        (grown(8), ours, "checkpoint.not_kept"),
        (grown(), thief, "checkpoint.no_log"),
        (bundle(grown={"2026": Grown(theirs, honest.hashes)}), theirs, "checkpoint.not_grown"),
        (bundle(grown={"2026": Grown(ours, honest.hashes[:-1])}), ours, "checkpoint.not_grown"),
        (bundle(grown={"2026": Grown(ours, honest.hashes[::-1])}), ours, "checkpoint.not_grown"),
        (bundle(grown={"2026": Grown(ours, ())}), ours, "checkpoint.not_grown"),
        (bundle(grown={"2025": honest}), ours, "checkpoint.not_grown"),
        (bundle(grown={"2026": Grown(thief, ())}), ours, "checkpoint.no_log"),
    ]
    for made, kept, code in tried:
        with pytest.raises(Failed) as failed:
            verify(saved(pack(made)), policy, _kept(tmp_path, kept))
        assert failed.value.code == code


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000, pack(bundle())[:-30]])
def test_what_is_no_zip(saved: Saved, policy: Path, content: bytes) -> None:
    with pytest.raises(Failed) as failed:
        verify(saved(content), policy)
    assert failed.value.code == "bundle.unreadable"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "policy.malformed"),
        ("log LOG\n", "policy.malformed"),
        ("log LOG\nquorum nobody\n", "policy.malformed"),
        ("log LOG\nquorum none\nquorum none\n", "policy.malformed"),
        ("log LOG\ngroup g 2 a\nquorum g\n", "policy.malformed"),
        ("log LOG\nwitness w LOG\nquorum w\n", "policy.malformed"),
        ("log nonsense\nquorum none\n", "policy.key"),
        ("log LOG\nwitness w OTHER\nquorum w\n", "checkpoint.no_quorum"),
        ("log THIEF\nquorum none\n", "checkpoint.no_log"),
        ("log LOG\r\nquorum none\r\n", "policy.malformed"),
        ("log LOG\nlog LOG\nquorum none\n", "policy.malformed"),
        ("log LOG\nwitness a OTHER\ngroup g 01 a\nquorum g\n", "policy.malformed"),
    ],
)
def test_a_policy_that_does_not_trust_it_or_cannot_be_read(saved: Saved, policy: Path, text: str, code: str) -> None:
    keys = {
        "LOG": LOG.key.verifier,
        "OTHER": witness("other.example").verifier,
        "THIEF": new_key(LOG.key.name).verifier,
    }
    for name, key in keys.items():
        text = text.replace(name, str(key))
    policy.write_bytes(text.encode())
    with pytest.raises(Failed) as failed:
        verify(saved(pack(bundle())), policy)
    assert failed.value.code == code
    # The service's own reader of policies says the same of it.
    with pytest.raises((InvalidInput, Tampered)):
        parse_policy(text.encode()).checkpoint(NOTE)


numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@given(json_of(numbers | texts, texts))
@example([0.0, -0.0, 1e20, 1e21, 123456789012345670000.0, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, -0.1, 25.5])
def test_the_program_writes_canonical_json_as_a_library_does(value: object) -> None:
    written = rfc8785.dumps({"value": value})  # pyright: ignore[reportArgumentType]
    spaced = written.replace(b'{"value":', b'{ "value" : ', 1)
    assert verify_bundle.canonical(verify_bundle.said(spaced, "a value")) == written


@pytest.mark.parametrize(
    "spelled", ["1.0", "25.50", "1e2", "1E+21", "0.1e1", "-0.0", "1e400", "1e-7000", "9007199254740992"]
)
def test_a_fraction_is_hashed_as_it_is_spelled(spelled: str) -> None:
    content = f'{{"value":{spelled}}}'.encode()
    assert verify_bundle.canonical(verify_bundle.said(content, "a value")) == content


@pytest.mark.parametrize("spelled", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json_is_not_read(spelled: str) -> None:
    with pytest.raises(Failed):
        verify_bundle.said(f'{{"value":{spelled}}}'.encode(), "a value")
