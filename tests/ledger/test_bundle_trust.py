"""Whom an auditor trusts with a bundle: policies, witnesses, and the checkpoint that was kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from diwan.domain.errors import InvalidInput, Tampered
from diwan.ledger.bundle import Bundle, Grown, pack
from diwan.ledger.note import SigningKey, new_key, parse_note
from diwan.ledger.policy import parse_policy
from diwan.ledger.tree import consistency_proof
from diwan.standalone import verify_bundle
from diwan.standalone.verify_bundle import Failed, verify
from tests.ledger.bundles import ENTRIES, LOG, NOTE, Saved, bundle
from tests.ledger.logs import MemoryLog, cosigned, witness

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
