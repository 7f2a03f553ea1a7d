"""`diwan vault backup`, `restore`, `replay`, `rotate`, `retire`, `status`, and a vault whose key is in a token."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from diwan.domain.errors import NotFound
from diwan.domain.ports import RetentionClass
from diwan.vault import callers
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring
from tests.cli.test_vault_init import Start, ended
from tests.cli.test_vault_init import environment as environment
from tests.cli.test_vault_init import folder as folder
from tests.cli.test_vault_init import start as start
from tests.vault import keeping

ORDER = "a" * 64
EXCHANGE = [RetentionClass.EXCHANGE]


def ring(folder: Path, caller: Caller) -> VaultKeyring:
    return VaultKeyring(f"unix:{folder}/v.sock", callers.read_token(folder / "vault" / "tokens" / caller.value))


def serving(start: Start) -> subprocess.Popen[str]:
    process = start()
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "vault.started" in line:
            return process
    raise AssertionError("".join(lines))


def said(process: subprocess.Popen[str]) -> str:
    code, output = ended(process)
    assert code == 0, output
    return output


def data_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    output = said(process)
    return json.loads(output[output.index("{\n") : output.rindex("}") + 1])


async def test_from_a_backup_no_destroyed_key_comes_back(start: Start, folder: Path) -> None:
    """The whole way: a copy and a rotation while it serves, and, the journal being lost too, the ledger's list."""
    said(start("--init"))
    vault = serving(start)
    worker, eraser = ring(folder, Caller.WORKER), ring(folder, Caller.ERASER)
    cipher = await worker.cipher("demo", "case-1")
    erased, kept = (cipher.seal(each, "c", b"value") for each in (RetentionClass.EXCHANGE, RetentionClass.DECISION))
    copy = folder / "copy"
    assert "keep it apart" in said(start("backup", "-o", str(copy)))
    await eraser.destroy("demo", "case-1", EXCHANGE, ORDER)
    code, output = ended(start("restore", str(copy)))
    assert (code, "vault.running" in output) == (5, True)
    vault.send_signal(signal.SIGTERM)
    assert ended(vault)[0] == 0

    assert "destroyed.jsonl" in said(start("restore", str(copy)))
    (folder / "vault" / "destroyed.jsonl").unlink()
    code, output = ended(start())
    assert (code, "vault.journal_missing" in output) == (1, True)
    listed = folder / "listed"
    listed.write_text(json.dumps({"tenant": "demo", "scope": "case-1", "classes": ["exchange"], "order": ORDER}) + "\n")
    assert "begun anew" in said(start("replay", str(listed)))

    vault = serving(start)
    (aside,) = data_of(start("status", "--output", "json"))["left_behind"]
    left = folder / "vault" / Path(aside).name
    assert left.name.startswith("vault.sqlite.replaced-")
    after = await worker.cipher("demo", "case-1")
    assert after.open(RetentionClass.DECISION, "c", kept) == b"value"
    (old,) = data_of(start("rotate", "--output", "json"))["wraps_nothing"]
    said(start("retire", old))
    status = data_of(start("status", "--output", "json"))
    assert (status["retired"], status["destroyed"]) == ([old], 1)
    assert status["backed_up_at"]
    fresh = ring(folder, Caller.POOL)
    found = await fresh.cipher("demo", "case-1")
    assert found.open(RetentionClass.DECISION, "c", kept) == b"value"
    with pytest.raises(NotFound):
        found.open(RetentionClass.EXCHANGE, "c", erased)
    for each in (worker, eraser, fresh):
        await each.aclose()
    vault.send_signal(signal.SIGTERM)
    assert ended(vault)[0] == 0
    left.unlink()
    assert data_of(start("status", "--output", "json"))["left_behind"] == []
    code, output = ended(start("restore", str(copy)))
    assert (code, "vault.wrong_key_file" in output) == (1, True)  # the key that wrapped it is retired


async def test_a_vault_whose_key_is_in_a_token(
    start: Start,
    environment: dict[str, str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = keeping.configure(folder)
    with monkeypatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        token = keeping.made_token("ministry")
    environment |= {
        "SOFTHSM2_CONF": str(config),
        "DIWAN_VAULT_PKCS11_MODULE": str(token.module),
        "DIWAN_VAULT_PKCS11_TOKEN": "ministry",
        "DIWAN_VAULT_PKCS11_PIN": "wrong",
    }
    del environment["DIWAN_VAULT_KEY"]
    code, output = ended(start("--init"))
    assert (code, "vault.pin_refused" in output) == (1, True)
    environment["DIWAN_VAULT_PKCS11_PIN"] = token.pin
    assert "a key in the token ministry" in said(start("--init"))
    assert not (folder / "vault" / "kek.json").exists()
    assert not (folder / "secrets").exists()
    vault = serving(start)
    worker = ring(folder, Caller.WORKER)
    sealed = (await worker.cipher("demo", "case-1")).seal(RetentionClass.DECISION, "c", b"value")
    (old,) = data_of(start("rotate", "--output", "json"))["wraps_nothing"]
    said(start("retire", old))
    fresh = ring(folder, Caller.POOL)
    assert (await fresh.cipher("demo", "case-1")).open(RetentionClass.DECISION, "c", sealed) == b"value"
    await worker.cipher("demo", "case-2")
    await worker.aclose()
    await fresh.aclose()
    vault.send_signal(signal.SIGTERM)
    code, output = ended(vault)
    assert code == 0
    assert token.pin not in output
