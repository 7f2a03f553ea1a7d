"""What a witness cosigns, what it refuses, and that neither a crash nor a lost file makes it forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from diwan.domain.errors import (
    Conflict,
    DiwanError,
    InvalidInput,
    NeedsPerson,
    NotFound,
    Refused,
    Tampered,
    Unavailable,
)
from diwan.ledger.checkpoint import Checkpoint, cosigned_at, open_checkpoint, parse_checkpoint, sign_checkpoint
from diwan.ledger.note import Note, SigningKey, new_key
from diwan.ledger.tree import consistency_proof, root_at
from diwan.ledger.witnessed import Growth
from diwan.witness.memory import AnotherSize, Memory, initialise
from tests.ledger.logs import ORIGIN, MemoryLog

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
LOG = MemoryLog()
LOG.add(*(f"entry {number}".encode() for number in range(40)))
OTHER = MemoryLog(LOG.key)  # another history under the same key
OTHER.add(*(f"entry {number}".encode() for number in range(20)), *(b"rewritten" for _ in range(20)))


def growth(old: int, size: int, log: MemoryLog = LOG) -> Growth:
    return Growth(old, tuple(consistency_proof(old, size, log.node(size).node)), log.checkpoint(size))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    initialise(tmp_path / "witness", "witness.example/1")
    return tmp_path / "witness"


@pytest.fixture
def memory(folder: Path) -> Iterator[Memory]:
    made = Memory(folder, lambda: NOW)
    made.follow(LOG.key.verifier)
    yield made
    made.close()


def again(memory: Memory, folder: Path) -> Memory:
    """Another process, after this one."""
    memory.close()
    return Memory(folder, lambda: NOW)


def test_it_cosigns_what_grew_and_the_same_again_with_the_time(memory: Memory, folder: Path) -> None:
    first = memory.add(growth(0, 5))
    assert open_checkpoint(first, LOG.key.verifier).size == 5
    assert cosigned_at(first, memory.verifier) == int(NOW.timestamp())
    assert memory.add(growth(5, 5)).text == first.text
    memory.add(growth(5, 17))
    after = again(memory, folder)
    assert parse_checkpoint(after.last(ORIGIN).text).size == 17
    assert [(each.origin, each.size) for each in after.followed()] == [(ORIGIN, 17)]
    after.close()


def test_it_never_goes_back_and_never_to_another_history(memory: Memory) -> None:
    """The split view: the log's own key signed both histories."""
    memory.add(growth(0, 30))
    thief = new_key(ORIGIN)
    forged = sign_checkpoint(parse_checkpoint(LOG.checkpoint(35).text), thief)
    wrong = Note(LOG.checkpoint(35).text, LOG.checkpoint(34).signatures)
    proof = growth(30, 35).proof
    refused: list[tuple[Growth, type[DiwanError], str]] = [
        (growth(0, 20), AnotherSize, "witness.another_size"),
        (growth(0, 35), AnotherSize, "witness.another_size"),
        (growth(29, 35), AnotherSize, "witness.another_size"),
        (Growth(30, (), LOG.checkpoint(20)), InvalidInput, "witness.old_beyond"),
        (growth(30, 30, OTHER), Tampered, "witness.other_root"),
        (growth(30, 35, OTHER), Tampered, "proof.not_consistent"),
        (Growth(30, (), LOG.checkpoint(35)), Tampered, "proof.not_consistent"),
        (Growth(30, proof[::-1], LOG.checkpoint(35)), Tampered, "proof.not_consistent"),
        (Growth(30, proof, forged), Refused, "witness.not_signed"),
        (Growth(30, proof, wrong), Refused, "witness.not_signed"),
        (Growth(0, (), MemoryLog(new_key("other.example/2026")).checkpoint()), NotFound, "witness.log_unknown"),
        (Growth(0, (), MemoryLog(new_key("x" * 190 + "é" * 10)).checkpoint()), NotFound, "witness.log_unknown"),
    ]
    for asked, kind, code in refused:
        with pytest.raises(kind) as error:
            memory.add(asked)
        assert error.value.code == code
    assert parse_checkpoint(memory.last(ORIGIN).text).size == 30
    memory.add(growth(30, 35))


def test_a_proof_from_nothing_is_empty(memory: Memory) -> None:
    with pytest.raises(Tampered):
        memory.add(Growth(0, (bytes(32),), LOG.checkpoint(5)))
    with pytest.raises(NotFound, match="does not follow"):
        memory.last(ORIGIN)


def test_it_says_where_it_left_off(memory: Memory) -> None:
    memory.add(growth(0, 30))
    with pytest.raises(AnotherSize) as error:
        memory.add(growth(0, 35))
    assert error.value.size == 30


def test_lines_of_others_are_left_out_of_what_it_keeps(memory: Memory) -> None:
    stranger = new_key("stranger.example")
    asked = growth(0, 5)
    note = asked.note.with_lines([stranger.line(stranger.key.sign(asked.note.text.encode()))])
    kept = memory.add(Growth(0, (), note))
    assert [line.name for line in kept.signatures] == [ORIGIN, "witness.example/1"]


HARM: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "cut short": lambda note: note[:-1],
    "of a smaller log": lambda note: note.replace(b"\n17\n", b"\n16\n"),
    "without its own signature": lambda note: note.rpartition("— witness".encode())[0],
}


@pytest.mark.parametrize("harm", HARM)
def test_a_memory_that_is_lost_or_changed_cosigns_nothing(memory: Memory, folder: Path, harm: str) -> None:
    memory.add(growth(0, 17))
    (note,) = (folder / "seen").glob("*.note")
    content = HARM[harm](note.read_bytes())
    if content is None:
        note.unlink()
    else:
        note.write_bytes(content)
    after = again(memory, folder)
    acts: tuple[Callable[[], object], ...] = (
        after.followed,
        lambda: after.last(ORIGIN),
        lambda: after.add(growth(0, 18)),
        lambda: after.add(growth(17, 18)),
        lambda: after.follow(LOG.key.verifier),
    )
    for act in acts:
        with pytest.raises(NeedsPerson) as error:
            act()
        assert error.value.code == "witness.memory_lost"
    after.close()


def test_a_crash_while_a_log_is_begun_leaves_nothing_that_stands(
    memory: Memory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = MemoryLog(new_key("other.example/2026"))
    other.add(b"one")

    def dies(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            memory.follow(other.key.verifier)
    assert len(list((folder / "seen").glob("*.note"))) == 2
    after = again(memory, folder)
    with pytest.raises(NotFound):
        after.add(growth(0, 1, other))
    after.follow(other.key.verifier)
    after.add(growth(0, 1, other))
    after.close()


@pytest.mark.parametrize("file", [".keys", ".note"])
def test_a_log_that_is_begun_twice_at_once_keeps_what_was_seen_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """Of two that say whom to follow the second finds nothing there, and before it goes on the log has grown."""
    cosigning = Memory(folder, lambda: NOW)
    second = Memory(folder, lambda: NOW, cosigning=False)
    exists = Path.exists

    def and_then(self: Path) -> bool:
        found = exists(self)
        if self.suffix == file and not found:
            monkeypatch.undo()
            cosigning.follow(LOG.key.verifier)
            cosigning.add(growth(0, 17))
        return found

    monkeypatch.setattr(Path, "exists", and_then)
    second.follow(LOG.key.verifier)
    with pytest.raises(AnotherSize):
        cosigning.add(growth(0, 30, OTHER))
    assert parse_checkpoint(cosigning.last(ORIGIN).text).size == 17
    cosigning.close()


def test_what_is_cosigned_is_on_disk_before_anybody_has_it(
    memory: Memory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.add(growth(0, 5))

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as broken:
        broken.setattr("diwan.kept_notes.os.fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            memory.add(growth(5, 6))
    assert not list((folder / "seen").glob(".*"))
    assert parse_checkpoint(memory.last(ORIGIN).text).size == 5
    memory.add(growth(5, 6))


def test_time_in_what_is_cosigned_never_goes_back(folder: Path) -> None:
    now = [NOW]
    memory = Memory(folder, lambda: now[0])
    memory.follow(LOG.key.verifier)
    memory.add(growth(0, 5))
    now[0] = NOW - timedelta(days=3)
    assert cosigned_at(memory.add(growth(5, 6)), memory.verifier) == int(NOW.timestamp())
    memory.close()


def test_keys_that_count_can_be_exchanged_and_what_was_seen_stays(memory: Memory) -> None:
    """As after the log's key was exposed: its thief's word does not count any more."""
    memory.add(growth(0, 17))
    new: SigningKey = new_key(ORIGIN)
    memory.follow(new.verifier)
    with pytest.raises(Refused):
        memory.add(growth(17, 18))
    checkpoint = Checkpoint(ORIGIN, 18, root_at(18, LOG.node(18).node))
    note = sign_checkpoint(checkpoint, new)
    memory.add(Growth(17, growth(17, 18).proof, note))
    with pytest.raises(AnotherSize):
        memory.add(Growth(0, (), note))


def test_one_witness_cosigns_and_its_key_is_a_private_file(memory: Memory, folder: Path) -> None:
    with pytest.raises(Conflict) as error:
        Memory(folder, lambda: NOW)
    assert error.value.code == "witness.running_already"
    Memory(folder, lambda: NOW, cosigning=False).followed()
    memory.close()
    with pytest.raises(Conflict):
        initialise(folder, "witness.example/2")
    (folder / "key").chmod(0o640)
    with pytest.raises(NeedsPerson, match="open to others"):
        Memory(folder, lambda: NOW)
    with pytest.raises(NeedsPerson, match="diwan witness init"):
        Memory(folder / "none", lambda: NOW)
