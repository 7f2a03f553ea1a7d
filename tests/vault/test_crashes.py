"""kill -9 at every step of destroying and of rotating: what is left is whole, and doing it again ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diwan.domain.ports import RetentionClass
from diwan.vault import database, keyfile, rotation, secretfile
from diwan.vault.journal import Journal
from diwan.vault.keystore import KeyStore

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ORDER = "a" * 64
EXCHANGE = {RetentionClass.EXCHANGE}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Steps:
    """Counts the steps that a process takes on disk, and kills it at one."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.taken = 0

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.last:
            die()

    def around(self, owner: Any, name: str) -> None:
        """Before and after a call."""
        call = getattr(owner, name)

        def called(*given: Any, **named: Any) -> Any:
            self.step()
            answer = call(*given, **named)
            self.step()
            return answer

        setattr(owner, name, called)

    def commits(self) -> None:
        """Before and after a commit."""
        begin = database.transaction

        @contextmanager
        def transaction(connection: Any) -> Generator[Any]:
            with begin(connection) as begun:
                yield begun
                self.step()
            self.step()

        database.transaction = transaction


def killed_at(last: int, do: Callable[[Path], object], folder: Path) -> bool:
    """Whether a process that does it was killed at that step; with False it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            steps = Steps(last)
            steps.commits()
            steps.around(Journal, "append")
            steps.around(database, "wipe_log")
            steps.around(secretfile, "replace")
            do(folder)
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def opened(folder: Path) -> KeyStore:
    return KeyStore.open(folder / "vault.sqlite", keyfile.load(folder / "kek.json"))


@pytest.fixture
def closed(store: KeyStore, folder: Path) -> Path:
    """A vault with three cases, whose store is closed."""
    for number in range(3):
        store.keys("demo", f"case-{number}", create=True, now=NOW)
    store.close()
    return folder


def destroy(folder: Path) -> None:
    opened(folder).destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)


def test_killed_while_destroying(closed: Path) -> None:
    """From the moment that the journal has it, it is done at the next start; what was answered is never undone."""
    before = contents(closed)
    store = opened(closed)
    kept = {scope: store.keys("demo", scope, create=False, now=NOW).by_class for scope in ("case-0", "case-1")}
    wrapped = store._connection.execute(
        "SELECT wrapped FROM data_key WHERE scope = 'case-1' AND class = 'exchange'"
    ).fetchone()[0]
    store.close()
    last, done = 0, []
    while True:
        last += 1
        put_back(closed, before)
        if not killed_at(last, destroy, closed):
            break
        ordered = len((closed / "destroyed.jsonl").read_bytes().splitlines()) == 2
        again = opened(closed)
        found = again.keys("demo", "case-1", create=True, now=LATER).by_class
        assert found == {**kept["case-1"], **({RetentionClass.EXCHANGE: None} if ordered else {})}
        assert again.keys("demo", "case-0", create=True, now=LATER).by_class == kept["case-0"]
        when = again.destroy("demo", "case-1", EXCHANGE, "b" * 64, now=LATER)
        assert when == {RetentionClass.EXCHANGE: NOW if ordered else LATER}
        assert wrapped[:16] not in b"".join(each.read_bytes() for each in closed.glob("vault.sqlite*"))
        again.close()
        done.append(ordered)
    assert done == sorted(done)
    assert done.count(False) >= 1
    assert done.count(True) >= 4


def rotate(folder: Path) -> None:
    rotation._AT_ONCE = 4  # pyright: ignore[reportPrivateUsage]
    keks = keyfile.load(folder / "kek.json")
    rotation.rotate(folder / "vault.sqlite", keks, now=NOW, say=lambda _: None)
    for name in sorted(keks.names() - {keks.current}):
        rotation.retire(folder / "vault.sqlite", keks, name, now=NOW)


def test_killed_while_rotating(closed: Path) -> None:
    before = contents(closed)
    store = opened(closed)
    kept = [store.keys("demo", f"case-{number}", create=False, now=NOW).by_class for number in range(3)]
    store.close()
    last = 0
    while True:
        last += 1
        put_back(closed, before)
        ended = not killed_at(last, rotate, closed)
        for _ in range(2):
            again = opened(closed)
            assert [again.keys("demo", f"case-{number}", create=True, now=NOW).by_class for number in range(3)] == kept
            again.close()
            rotate(closed)
        assert len(keyfile.load(closed / "kek.json").names()) == 1
        if ended:
            break
    assert last > 10


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def put_back(folder: Path, before: dict[str, bytes]) -> None:
    for each in folder.iterdir():
        each.unlink()
    for name, content in before.items():
        secretfile.create(folder / name, content)
