"""`diwan vault --init` makes what `diwan vault` and its callers need, as docs/operations.md tells an operator."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diwan.domain.ports import RetentionClass
from diwan.vault import callers
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """pytest's own is too long for a unix socket's path."""
    made = Path(tempfile.mkdtemp(prefix="dvi-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """The settings of a production vault, its key file apart from the rest."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DIWAN_")} | {
        "DIWAN_HOME": str(folder / "home"),
        "DIWAN_VAULT_DIR": str(folder / "vault"),
        "DIWAN_VAULT_KEY": str(folder / "secrets" / "vault_key"),
        "DIWAN_VAULT_ADDRESS": f"unix:{folder}/v.sock",
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Starts `diwan vault …`."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [sys.executable, "-m", "diwan.cli.main", "vault", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(made)
        return made

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE_S)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_vault_made_by_init_serves_each_caller_with_its_token(start: Start, folder: Path) -> None:
    code, output = ended(start("--init"))
    assert code == 0, output
    vault, key = folder / "vault", folder / "secrets" / "vault_key"
    made = {path.relative_to(folder).as_posix() for path in files_in(folder)}
    tokens = {f"vault/tokens/{caller.value}" for caller in Caller}
    assert made >= tokens | {"vault/vault.sqlite", "vault/callers.json", "secrets/vault_key"}
    assert not (vault / "kek.json").exists()
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in made} == {0o600}
    assert {stat.S_IMODE(each.stat().st_mode) for each in (vault, vault / "tokens", key.parent)} == {0o700}
    for path in (key, *(folder / name for name in tokens)):
        assert path.read_text().strip() not in output

    serving = start()
    assert serving.stdout is not None
    assert any("vault.started" in line for line in serving.stdout)
    sealed = b""
    for caller in (Caller.WEB, Caller.POOL):
        ring = VaultKeyring(f"unix:{folder}/v.sock", callers.read_token(vault / "tokens" / caller.value))
        cipher = await ring.cipher("demo", "case-1")
        sealed = sealed or cipher.seal(RetentionClass.DECISION, "c", b"value")
        assert cipher.open(RetentionClass.DECISION, "c", sealed) == b"value"
        await ring.aclose()
    serving.send_signal(signal.SIGTERM)
    assert ended(serving)[0] == 0


def test_init_again_changes_nothing_and_says_so(start: Start, folder: Path) -> None:
    assert ended(start("--init"))[0] == 0
    before = {path: path.read_bytes() for path in files_in(folder)}
    code, output = ended(start("--init"))
    assert code != 0
    assert "vault.initialised_before" in output
    assert {path: path.read_bytes() for path in files_in(folder)} == before


def test_without_init_there_is_no_vault_to_serve(start: Start) -> None:
    code, output = ended(start())
    assert code != 0
    assert "vault.started" not in output
    assert "diwan vault --init" in output
