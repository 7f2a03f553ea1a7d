"""Checkpoints, cosignatures, policies and proofs of entries: what is said, by whom, and that nothing else passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput, Tampered
from diwan.ledger.checkpoint import (
    Checkpoint,
    cosign,
    cosigned_at,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from diwan.ledger.note import Note, new_key, parse_note, parse_vkey, sign
from diwan.ledger.policy import Policy, Witness, parse_policy
from diwan.ledger.proof import EntryProof, check_proof, parse_proof
from diwan.ledger.tree import EMPTY_ROOT
from tests.ledger.logs import ORIGIN, MemoryLog, cosigned, witness

# The example of c2sp.org/tlog-checkpoint and tlog-cosignature; whose keys it is signed by is not published.
TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_a_checkpoint_comes_back() -> None:
    said = parse_checkpoint(TEXT)
    assert (said.origin, said.size, said.text) == ("example.com/behind-the-sofa", 20852163, TEXT)
    assert parse_checkpoint(Checkpoint("a", 0, EMPTY_ROOT).text).size == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("20852163", "020852163"),
        ("20852163", "-1"),
        ("20852163", "+1"),
        ("20852163", "٢"),
        ("20852163", "0"),  # an empty log has one root
        ("20852163", str(2**53)),
        ("example.com/behind-the-sofa", ""),
        ("q2I=\n", "q2I=\nextension\n"),
        ("q2I=", "q2J="),
        ("CsUYapGG", ""),
        ("q2I=\n", "q2I="),
    ],
)
def test_what_is_near_a_checkpoint_and_is_none(old: str, new: str) -> None:
    with pytest.raises(Tampered, match="no checkpoint"):
        parse_checkpoint(TEXT.replace(old, new))


def test_a_log_speaks_for_itself_alone() -> None:
    key, other = new_key("a.example"), new_key("b.example")
    note = sign_checkpoint(Checkpoint("a.example", 0, EMPTY_ROOT), key)
    assert open_checkpoint(parse_note(bytes(note)), key.verifier).size == 0
    with pytest.raises(ValueError, match="origin"):
        sign_checkpoint(Checkpoint("a.example", 0, EMPTY_ROOT), other)
    with pytest.raises(Tampered, match="another log"):
        open_checkpoint(sign(Checkpoint("a.example", 0, EMPTY_ROOT).text, other), other.verifier)


def test_a_cosignature_says_when() -> None:
    log, seen_by = MemoryLog(), witness("w.example")
    note = parse_note(bytes(cosigned(log.checkpoint(), seen_by, seconds=1_679_315_147)))
    assert cosigned_at(note, seen_by.verifier) == 1_679_315_147
    assert cosigned_at(note, witness("w.example").verifier) is None
    for broken in (
        seen_by.line((5).to_bytes(8, "big") + cosign(note, seen_by, 6).content[8:]),
        seen_by.line((0).to_bytes(8, "big") + bytes(64)),
        seen_by.line(b"short"),
        cosign(sign("another\n", log.key), seen_by, 6),
    ):
        with pytest.raises(Tampered, match="cosignature"):
            cosigned_at(note.with_lines([broken]), seen_by.verifier)
    for seconds in (0, -1, 2**63):
        with pytest.raises(ValueError, match="time"):
            cosign(note, seen_by, seconds)
    with pytest.raises(ValueError, match="type 4"):
        cosign(note, log.key, 1)


# --- policies ---------------------------------------------------------------------------------------------------------


def policy_text(log: MemoryLog, witnesses: list[str], *lines: str) -> bytes:
    return "\n".join(["# of the court of auditors", f"log {log.key.verifier}", *witnesses, *lines, ""]).encode()


def test_a_quorum_is_counted_as_the_file_says() -> None:
    log = MemoryLog()
    log.add(b"one", b"two")
    keys = {name: witness(f"{name}.example") for name in ("x1", "x2", "x3", "y1")}
    lines = [f"witness {name} {key.verifier} https://{name}.example/" for name, key in keys.items()]
    wanted = ("group xs 2 x1 x2 x3", "\tgroup both all  xs y1 ", "", "quorum both")
    policy = parse_policy(policy_text(log, lines, *wanted))
    note = log.checkpoint()
    for enough, names in (
        (True, "x1 x3 y1"),
        (True, "x1 x2 x3 y1"),
        (False, "x1 x2 x3"),
        (False, "x1 y1"),
        (False, ""),
    ):
        signed = cosigned(note, *(keys[name] for name in names.split()))
        if enough:
            assert policy.checkpoint(signed).size == 2
        else:
            with pytest.raises(Tampered, match="both did not cosign"):
                policy.checkpoint(signed)
    # One witness under many names is one: names are in the note, keys in the policy.
    again = [cosign(note, keys["x1"], seconds) for seconds in (5, 6)]
    with pytest.raises(Tampered):
        policy.checkpoint(Note(note.text, (*note.signatures, *again)))
    # A wrong line of a known witness spoils the note, though enough others are right.
    wrong = cosign(sign("another\n", log.key), keys["x2"], 5)
    with pytest.raises(Tampered, match=r"x2\.example"):
        policy.checkpoint(cosigned(note, keys["x1"], keys["x3"], keys["y1"]).with_lines([wrong]))


def test_a_policy_may_want_one_witness_any_or_none() -> None:
    log, keys = MemoryLog(), [witness("a.example"), witness("b.example")]
    lines = [f"witness {name} {key.verifier}" for name, key in zip("ab", keys, strict=True)]
    alone = parse_policy(policy_text(log, lines, "quorum a"))
    one_of = parse_policy(policy_text(log, lines, "group g any a b", "quorum g"))
    nobody = parse_policy(policy_text(log, [], "quorum none"))
    note = log.checkpoint()
    by_b = cosigned(note, keys[1])
    assert {one_of.checkpoint(by_b), nobody.checkpoint(note)} == {Checkpoint(ORIGIN, 0, EMPTY_ROOT)}
    for policy, shown in ((alone, by_b), (one_of, note)):
        with pytest.raises(Tampered, match="did not cosign"):
            policy.checkpoint(shown)
    with pytest.raises(Tampered, match="No log of the policy"):
        nobody.checkpoint(MemoryLog().checkpoint())


@pytest.mark.parametrize(
    ("lines", "line", "why"),
    [
        (["quorum b"], 3, "before it is defined"),
        (["quorum none", "quorum none"], 4, "a quorum already"),
        ([], 3, "no line"),
        (["group g 3 a a2", "quorum g"], 3, "before it is defined"),
        (["group g 2 a", "quorum g"], 3, "more members"),
        (["group g 0 a", "quorum g"], 3, "any, all or a number"),
        (["group g 01 a", "quorum g"], 3, "any, all or a number"),
        (["group g any", "quorum g"], 3, "a line reads"),
        (["group g any a a", "quorum g"], 3, "a member already"),
        (["group g any a", "group h any a", "quorum h"], 4, "a member already"),
        (["group a any a", "quorum a"], 3, "taken"),
        (["group none any a", "quorum none"], 3, "taken"),
        (["wotness b c"], 3, "a line reads"),
        (["\x07"], 3, "control"),
        (["log nothing"], 3, "verifier key"),
    ],
)
def test_a_policy_that_cannot_be_read_says_where(lines: list[str], line: int, why: str) -> None:
    log = MemoryLog()
    head = f"log {log.key.verifier}\nwitness a {witness('a.example').verifier}\n"
    with pytest.raises(InvalidInput, match=f"Line {line} .*{why}"):
        parse_policy((head + "\n".join(lines)).encode())


def test_a_key_is_for_one_use_and_stands_once() -> None:
    log, seen_by = MemoryLog(), witness("a.example")
    for text, why in (
        (f"log {seen_by.verifier}", "not for this use"),
        (f"witness a {log.key.verifier}", "not for this use"),
        (f"log {log.key.verifier}\nlog {log.key.verifier}", "there already"),
        (f"witness a {seen_by.verifier}\nwitness b {seen_by.verifier}", "there already"),
    ):
        with pytest.raises(InvalidInput, match=why):
            parse_policy(f"{text}\nquorum none\n".encode())


# --- proofs -----------------------------------------------------------------------------------------------------------

ENTRIES = [f"entry {number}".encode() for number in range(300)]
LOG = MemoryLog()
LOG.add(*ENTRIES)
SEEN_BY = witness("w.example")
POLICY = Policy((LOG.key.verifier,), (Witness("w", SEEN_BY.verifier),), "w")


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
@pytest.mark.parametrize("extra", [b"", b"\x00\xff"])
def test_a_proof_comes_back_and_shows_its_entry(index: int, extra: bytes) -> None:
    proof = LOG.proof(index, cosigned(LOG.checkpoint(), SEEN_BY), extra)
    again = parse_proof(bytes(proof))
    assert again == proof
    assert check_proof(again, ENTRIES[index], POLICY).size == 300
    with pytest.raises(Tampered, match="not show"):
        check_proof(again, ENTRIES[index] + b" ", POLICY)


def test_a_log_of_one_entry_needs_no_hashes() -> None:
    log = MemoryLog()
    log.add(b"alone")
    proof = parse_proof(bytes(log.proof(0)))
    assert proof.hashes == ()
    check_proof(proof, b"alone", Policy((log.key.verifier,)))


@given(st.data())
def test_no_byte_of_a_proof_can_be_changed(data: st.DataObject) -> None:
    content = bytes(LOG.proof(77, cosigned(LOG.checkpoint(), SEEN_BY)))
    at = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    kind = data.draw(st.sampled_from(["flip", "cut", "double", "drop"]))
    if kind == "flip":
        changed[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del changed[at:]
    elif kind == "double":
        changed.insert(at, changed[at])
    else:
        del changed[at]
    with pytest.raises((Tampered, InvalidInput)):
        check_proof(parse_proof(bytes(changed)), ENTRIES[77], POLICY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tlog-proof@v1", b"tlog-proof@v2"),
        (b"index 77", b"index 077"),
        (b"index 77", b"index -1"),
        (b"index 77", b"extra \nindex 77"),
        (b"index 77", b"extra AA\nindex 77"),
        (b"index 77", b"index 77\n\n"),
        (b"index 77\n", b""),
        (b"index 77\n", b"index 77\nAAAA\n"),
        (b"\n\n", b"\n"),
    ],
)
def test_what_is_near_a_proof_and_is_none(old: bytes, new: bytes) -> None:
    with pytest.raises(Tampered):
        parse_proof(bytes(LOG.proof(77)).replace(old, new, 1))


def test_a_proof_of_another_log_or_time_shows_nothing_here() -> None:
    other = MemoryLog()
    other.add(*ENTRIES)
    with pytest.raises(Tampered, match="No log of the policy"):
        check_proof(other.proof(7, cosigned(other.checkpoint(), SEEN_BY)), ENTRIES[7], POLICY)
    smaller = cosigned(LOG.checkpoint(200), SEEN_BY)
    proof = LOG.proof(7)
    with pytest.raises(Tampered, match="not show"):
        check_proof(EntryProof(7, proof.hashes, smaller), ENTRIES[7], POLICY)


def test_a_vkey_is_what_people_exchange() -> None:
    assert parse_vkey(str(SEEN_BY.verifier)) == SEEN_BY.verifier
