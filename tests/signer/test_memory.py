"""What the signer signs, what it refuses, and that neither a crash nor a lost file makes it forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from diwan.domain.errors import Conflict, DiwanError, NeedsPerson, NotFound, Refused, Tampered
from diwan.ledger.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from diwan.ledger.note import parse_signing_key, parse_vkey
from diwan.ledger.policy import Policy
from diwan.ledger.proof import EntryProof, check_proof
from diwan.ledger.tree import EMPTY_ROOT, consistency_proof, inclusion_proof, root_at
from diwan.signer import memory as module
from diwan.signer.memory import Memory
from tests.ledger.logs import MemoryLog

BASE = "ledger.example/log"
NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
ORIGIN = f"{BASE}/2026"
LOG = MemoryLog()
LOG.add(*(f"entry {number}".encode() for number in range(40)))


def at(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_at(size, LOG.node(size).node))


def between(old: int, size: int) -> list[bytes]:
    return consistency_proof(old, size, LOG.node(size).node)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "signer"


@pytest.fixture
def memory(folder: Path) -> Iterator[Memory]:
    made = Memory(folder, BASE, lambda: NOW)
    yield made
    made.close()


def again(memory: Memory, folder: Path) -> Memory:
    """Another process, after this one."""
    memory.close()
    return Memory(folder, BASE, lambda: NOW)


def test_it_signs_what_grew_and_says_the_same_again(memory: Memory, folder: Path) -> None:
    assert memory.last(ORIGIN) is None
    first = memory.sign(at(5), between(0, 5))
    assert memory.sign(at(5), []) == first
    second = memory.sign(at(17), between(5, 17))
    (vkey,) = memory.keys()
    assert open_checkpoint(second, parse_vkey(vkey)) == at(17)
    after = again(memory, folder)
    assert after.last(ORIGIN) == second
    assert after.keys() == [vkey]
    after.check()
    after.close()


def test_it_never_goes_back_and_never_to_another_tree(memory: Memory) -> None:
    memory.sign(at(17), between(0, 17))
    refused: list[tuple[Checkpoint, list[bytes], type[DiwanError], str]] = [
        (at(5), [], Conflict, "signer.went_back"),
        (at(0), [], Conflict, "signer.went_back"),
        (Checkpoint(ORIGIN, 17, bytes(32)), [], Conflict, "signer.split_view"),
        (Checkpoint(ORIGIN, 18, bytes(32)), between(17, 18), Tampered, "proof.not_consistent"),
        (at(18), between(16, 18), Tampered, "proof.not_consistent"),
        (at(18), [], Tampered, "proof.not_consistent"),
        (at(17), between(16, 17), Tampered, "proof.not_consistent"),
    ]
    for checkpoint, proof, kind, code in refused:
        with pytest.raises(kind) as error:
            memory.sign(checkpoint, proof)
        assert error.value.code == code
    note = memory.last(ORIGIN)
    assert note is not None
    assert parse_checkpoint(note.text) == at(17)


@pytest.mark.parametrize("origin", ["other.example/log/2026", f"{BASE}/2025", f"{BASE}/2028", BASE, f"{BASE}/x/2026"])
def test_it_begins_no_log_but_its_own_of_this_year(memory: Memory, origin: str) -> None:
    with pytest.raises(Refused) as error:
        memory.sign(Checkpoint(origin, 0, EMPTY_ROOT), [])
    assert error.value.code == "signer.not_my_log"
    assert memory.keys() == []


def test_years_have_keys_of_their_own(folder: Path) -> None:
    now = [datetime(2026, 12, 31, 23, 50, tzinfo=UTC)]
    memory = Memory(folder, BASE, lambda: now[0])
    memory.sign(at(5), between(0, 5))
    memory.sign(Checkpoint(f"{BASE}/2027", 0, EMPTY_ROOT), [])  # the database's clock is ten minutes ahead
    now[0] = datetime(2027, 6, 1, tzinfo=UTC)
    memory.sign(at(6), between(5, 6))  # the old log may still be signed to its end
    old, new = map(parse_vkey, memory.keys())
    assert (old.name, new.name) == (ORIGIN, f"{BASE}/2027")
    assert old.public != new.public
    memory.close()


HARM: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "cut short": lambda note: note[:-1],
    "of a smaller log": lambda note: note.replace(b"\n17\n", b"\n16\n"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_memory_that_is_lost_or_changed_signs_nothing(memory: Memory, folder: Path, harm: str) -> None:
    memory.sign(at(17), between(0, 17))
    (note,) = (folder / "signed").glob("*.note")
    content = HARM[harm](note.read_bytes())
    if content is None:
        note.unlink()
    else:
        note.write_bytes(content)
    after = again(memory, folder)
    for act in (after.check, lambda: after.last(ORIGIN), lambda: after.sign(at(18), between(17, 18))):
        with pytest.raises(NeedsPerson) as error:
            act()
        assert error.value.code == "signer.memory_lost"
    after.close()


def test_a_key_that_is_lost_is_not_made_anew_over_what_it_signed(memory: Memory, folder: Path) -> None:
    note = memory.sign(at(17), between(0, 17))
    (key,) = (folder / "keys").glob("*.key")
    key.unlink()
    after = again(memory, folder)
    for act in (lambda: after.last(ORIGIN), lambda: after.sign(at(18), between(17, 18)), lambda: after.sign(at(0), [])):
        with pytest.raises(NeedsPerson) as error:
            act()
        assert error.value.code == "signer.key_lost"
    (kept,) = (folder / "signed").glob("*.note")
    assert kept.read_bytes() == bytes(note)
    after.close()


def test_a_log_that_is_begun_is_said_with_its_key(memory: Memory, folder: Path, tmp_path: Path) -> None:
    """A folder that is lost as a whole is one of a signer that never began: the sequencer knows better, and the log."""
    memory.sign(at(17), between(0, 17))
    memory.close()
    folder.rename(tmp_path / "lost")
    after = Memory(folder, BASE, lambda: NOW)
    assert after.last(ORIGIN) is None
    with capture_logs() as logs:
        after.sign(at(18), between(0, 18))
        after.sign(at(19), between(18, 19))
    (vkey,) = after.keys()
    assert [(each["event"], each["origin"], each["key"]) for each in logs] == [("signer.log_begun", ORIGIN, vkey)]
    after.close()


def test_a_crash_between_note_and_key_leaves_nothing_that_stands(
    memory: Memory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(module.secretfile, "create", died)
        with pytest.raises(KeyboardInterrupt):
            memory.sign(at(5), between(0, 5))
    after = again(memory, folder)
    after.check()
    assert (after.keys(), after.last(ORIGIN)) == ([], None)
    after.sign(at(5), between(0, 5))
    after.close()


def test_what_is_signed_is_on_disk_before_anybody_has_it(
    memory: Memory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.sign(at(5), between(0, 5))

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", full)
        with pytest.raises(DiwanError):
            memory.sign(at(6), between(5, 6))
    assert not list((folder / "signed").glob(".*"))
    note = memory.last(ORIGIN)
    assert note is not None
    assert parse_checkpoint(note.text) == at(5)


def test_one_signer_signs(memory: Memory, folder: Path) -> None:
    with pytest.raises(Conflict) as error:
        Memory(folder, BASE, lambda: NOW)
    assert error.value.code == "signer.running_already"


def test_keys_are_private_files(memory: Memory, folder: Path) -> None:
    memory.sign(at(5), between(0, 5))
    (key,) = (folder / "keys").glob("*.key")
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with pytest.raises(NeedsPerson) as error:
        memory.sign(at(6), between(5, 6))
    assert error.value.code == "secret.file_exposed"


def test_a_token_is_made_once(folder: Path) -> None:
    with pytest.raises(NeedsPerson, match="diwan signer --init"):
        module.read_token(folder)
    module.initialise(folder)
    token = module.read_token(folder)
    module.initialise(folder)
    assert module.read_token(folder) == token
    assert len(token) > 30


def test_a_key_is_exchanged_within_the_year_and_old_proofs_hold(memory: Memory, folder: Path) -> None:
    old_note = memory.sign(at(17), between(0, 17))
    proof = EntryProof(3, tuple(inclusion_proof(3, 17, LOG.node(17).node)), old_note)
    old, new = map(parse_vkey, memory.rotate(ORIGIN))
    assert (memory.keys(), memory.retired()) == ([str(new)], [str(old)])
    assert old.name == new.name
    both = memory.sign(at(17), [])
    assert [both.by(old) is not None, both.by(new) is not None] == [True, True]
    note = memory.sign(at(20), between(17, 20))
    assert [note.by(old), note.by(new) is not None] == [None, True], "the old key signs nothing any more"
    check_proof(proof, LOG.entries[3], Policy((old, new)))
    assert Policy((old, new)).checkpoint(note) == Policy((new,)).checkpoint(note) == at(20)
    with pytest.raises(Tampered):
        check_proof(proof, LOG.entries[3], Policy((new,)))
    with pytest.raises(Tampered):
        Policy((old,)).checkpoint(note)
    with pytest.raises(Conflict):
        memory.sign(at(5), [])
    after = again(memory, folder)
    assert after.last(ORIGIN) == note
    assert (after.keys(), after.retired()) == ([str(new)], [str(old)])
    (secret,) = (folder / "keys").glob("*")
    assert parse_signing_key(secret.read_text().strip()).verifier == new, "and its secret is nowhere"
    newest = parse_vkey(after.rotate(ORIGIN)[1])
    assert (after.keys(), after.retired()) == ([str(newest)], [str(old), str(new)])
    with pytest.raises(NotFound):
        after.rotate(f"{BASE}/2025")
    after.close()


@pytest.mark.parametrize("step", range(4))
def test_a_crash_while_a_key_is_exchanged_leaves_one_that_stands(
    memory: Memory, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    memory.sign(at(17), between(0, 17))
    left = [step]

    def dies(path: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    with monkeypatch.context() as broken:
        broken.setattr("diwan.vault.secretfile.sync_directory", dies)
        with pytest.raises(KeyboardInterrupt):
            memory.rotate(ORIGIN)
    after = again(memory, folder)
    after.check()
    after.sign(at(18), between(17, 18))
    if step < 3:  # else it was done, but for the word
        after.rotate(ORIGIN)
    note = after.sign(at(19), between(18, 19))
    assert (len(after.keys()), len(after.retired())) == (1, 1)
    assert note.by(parse_vkey(after.keys()[0])) is not None
    assert len(list((folder / "keys").iterdir())) == 1
    after.close()
