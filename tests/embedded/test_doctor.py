"""What `diwan doctor` says of the embedded stack's vault; the rest of it is tried on a stack (test_stack.py)."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from diwan.embedded import doctor
from diwan.embedded.doctor import Finding, State
from diwan.vault import copies, setup
from diwan.vault.callers import Caller
from diwan.vault.setup import VaultFiles

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)


def test_it_says_what_wraps_the_keys_how_old_their_backup_is_and_what_lies_beside(tmp_path: Path) -> None:
    def said(now: datetime) -> Finding:
        return doctor._vault_keys(tmp_path, now)

    assert said(NOW) == Finding("vault keys", State.OK, "made at the first start")
    files = VaultFiles.in_folder(tmp_path / "vault")
    files.database.parent.mkdir(mode=0o700)
    setup.initialise(files, {caller: tmp_path / caller.value for caller in Caller})
    assert (said(NOW).state, said(NOW).remedy) == (State.NOTE, "Type: diwan vault backup -o FILE")
    assert said(NOW).detail == f"wrapped by a key in a file, {files.key}; never backed up"
    copies.backup(files.database, tmp_path / "copy", now=NOW)
    assert (said(NOW).state, said(NOW).remedy) == (State.OK, "")
    assert said(NOW).detail.endswith("; backed up 2026-11-27 09:30Z")
    assert said(NOW + timedelta(days=2)).state is State.OK
    later = said(NOW + timedelta(days=9))
    assert (later.state, later.detail.rpartition("; ")[2]) == (State.NOTE, "last backed up 9 days ago")
    (files.database.parent / ".kek.json.0123").touch(0o600)
    assert (said(NOW).state, said(NOW).detail.rpartition("; ")[2]) == (State.NOTE, "copies beside: .kek.json.0123")


def test_a_vault_of_an_earlier_version_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    files = VaultFiles.in_folder(tmp_path / "vault")
    files.database.parent.mkdir(mode=0o700)
    old = sqlite3.connect(files.database)
    old.executescript("CREATE TABLE data_key (x); PRAGMA user_version = 1;")
    assert doctor._vault_keys(tmp_path, NOW).detail.endswith("never backed up")
    assert old.execute("PRAGMA user_version").fetchone() == (1,)
    old.close()
