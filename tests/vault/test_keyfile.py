"""The key file: private, whole, its own; a key wraps nothing but what its row says."""

from __future__ import annotations

import base64
import json
import os
import traceback
from pathlib import Path

import pytest

from diwan.domain.errors import Conflict, NeedsPerson, Tampered
from diwan.vault import aead, keyfile, secretfile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    keyfile.create(tmp_path / "kek.json")
    return tmp_path / "kek.json"


def code_of_loading(path: Path) -> str:
    with pytest.raises(NeedsPerson) as raised:
        keyfile.load(path)
    assert raised.value.remedy
    return raised.value.code


def test_a_new_key_file_is_private_and_never_replaced(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    with pytest.raises(Conflict):
        keyfile.create(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["kek.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert code_of_loading(path) == "secret.file_exposed"


def test_a_key_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert code_of_loading(path) == "secret.file_of_another_user"


def test_a_missing_key_file_says_what_to_do(path: Path) -> None:
    path.unlink()
    assert code_of_loading(path) == "vault.key_file_missing"


def test_a_folder_or_a_device_is_no_key_file(tmp_path: Path) -> None:
    assert code_of_loading(tmp_path) == "secret.file_unusable"
    assert code_of_loading(Path(os.devnull)) == "secret.file_not_regular"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"{}",
        b'{"format":"diwan-kek-2","current":"a","keys":{}}',
        b'{"format":"diwan-kek-1","current":"a","keys":{}}',
        b'{"format":"diwan-kek-1","current":"a","keys":{"a":"c2hvcnQ="}}',
        b'{"format":"diwan-kek-1","current":"a","keys":{"a":"%%%%"}}',
    ],
)
def test_a_damaged_key_file_is_refused_without_repeating_it(tmp_path: Path, content: bytes) -> None:
    secretfile.create(tmp_path / "kek.json", content)
    with pytest.raises(NeedsPerson) as raised:
        keyfile.load(tmp_path / "kek.json")
    assert raised.value.code == "vault.key_file_malformed"
    assert "c2hvcnQ" not in "".join(traceback.format_exception(raised.value))
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_key_under_another_keys_name_is_refused(path: Path) -> None:
    content = json.loads(path.read_text())
    content["keys"][content["current"]] = base64.urlsafe_b64encode(b"\x00" * 32).decode()
    path.write_text(json.dumps(content))
    assert code_of_loading(path) == "vault.key_file_malformed"


def test_what_is_wrapped_unwraps_in_its_row_only(path: Path) -> None:
    keks = keyfile.load(path)
    key = aead.new_key()
    _, wrapped = keks.wrap(key, "demo", "case-1", "decision")
    assert key not in wrapped
    assert keks.unwrap(keks.current, wrapped, "demo", "case-1", "decision") == key
    for row in (("x", "case-1", "decision"), ("demo", "case-2", "decision"), ("demo", "case-1", "evidence")):
        with pytest.raises(Tampered) as raised:
            keks.unwrap(keks.current, wrapped, *row)
        assert raised.value.code == "vault.key_does_not_unwrap"


def test_the_id_of_the_wrapping_key_is_bound(path: Path) -> None:
    """The same key bytes under two names: only the associated data can tell which one wrapped."""
    key = aead.new_key()
    keks = keyfile.KeyFile(path, "one", {"one": key, "two": key})
    _, wrapped = keks.wrap(aead.new_key(), "demo", "case-1", "decision")
    with pytest.raises(Tampered):
        keks.unwrap("two", wrapped, "demo", "case-1", "decision")


def test_after_a_rotation_old_keys_still_unwrap(path: Path, tmp_path: Path) -> None:
    old = keyfile.load(path)
    key = aead.new_key()
    _, wrapped = old.wrap(key, "demo", "case-1", "decision")
    content = json.loads(path.read_text())
    new = aead.new_key()
    content["current"] = keyfile.name_of(new)
    content["keys"][content["current"]] = base64.urlsafe_b64encode(new).decode()
    secretfile.create(tmp_path / "rotated.json", json.dumps(content).encode())
    rotated = keyfile.load(tmp_path / "rotated.json")
    assert rotated.current != old.current
    assert rotated.unwrap(old.current, wrapped, "demo", "case-1", "decision") == key
    with pytest.raises(NeedsPerson):
        old.unwrap(rotated.current, rotated.wrap(key, "demo", "c", "decision")[1], "demo", "c", "decision")
