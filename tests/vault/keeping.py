"""Both kinds of key-encryption keys, for tests that hold for either: a file, and a token of SoftHSM."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from diwan.vault import keyfile
from diwan.vault.hsm import TokenKeys, TokenPlace
from diwan.vault.keks import KeyEncryptionKeys
from tests.oracles.softhsm import softhsm

PIN = "a-pin-that-is-no-secret"
KINDS = ["file", "token"]


def configure(folder: Path) -> Path:
    """SoftHSM's configuration file for tokens in `folder`."""
    (folder / "tokens").mkdir(mode=0o700)
    path = folder / "softhsm2.conf"
    path.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    return path


def made_token(label: str) -> TokenPlace:
    """A new token, in what SOFTHSM2_CONF names."""
    found = softhsm()
    made = [str(found.util), "--module", str(found.module), "--init-token", "--free", "--label", label]
    subprocess.run([*made, "--so-pin", "a-so-pin", "--pin", PIN], check=True, capture_output=True)
    return TokenPlace(found.module, label, PIN)


@pytest.fixture(scope="session")
def only_token(tmp_path_factory: pytest.TempPathFactory) -> TokenPlace:
    """One for all tests of this process: SoftHSM reads its configuration and looks for tokens once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SOFTHSM2_CONF", str(configure(tmp_path_factory.mktemp("hsm"))))
    return made_token("diwan")


@pytest.fixture
def token(only_token: TokenPlace) -> TokenPlace:
    """An empty token."""
    keys = TokenKeys(only_token)
    for name in keys.names():
        keys.remove(name)
    return only_token


def keys_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> tuple[Path | TokenPlace, KeyEncryptionKeys]:
    """A place with one key in it, and that place opened."""
    if kind == "file":
        keyfile.create(folder / "kek.json")
        return folder / "kek.json", keyfile.load(folder / "kek.json")
    place: TokenPlace = request.getfixturevalue("token")
    keys = TokenKeys(place)
    keys.add()
    return place, keys


def opened(place: Path | TokenPlace) -> KeyEncryptionKeys:
    """As another process would."""
    return TokenKeys(place) if isinstance(place, TokenPlace) else keyfile.load(place)
