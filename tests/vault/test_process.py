"""The vault as a process: first start, kill -9, a second one beside it, files it refuses."""

from __future__ import annotations

import socket
import stat
import subprocess
from pathlib import Path

import pytest

from diwan.domain.errors import Conflict, DiwanError, InvalidInput, NeedsPerson
from diwan.domain.ports import RetentionClass
from diwan.local.listen import listening
from diwan.vault import callers, listen, setup
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring
from diwan.vault.setup import VaultFiles
from tests.vault.running import Vault, no_pause, running


def initialised(folder: Path) -> VaultFiles:
    files = VaultFiles.in_folder(folder)
    setup.initialise(files, {caller: folder / f"{caller}.token" for caller in Caller})
    return files


async def test_a_key_that_was_seen_survives_kill_9(folder: Path) -> None:
    """Each round kills the vault at the moment its answer arrived; no key may change or be lost afterwards."""
    sealed: dict[str, bytes] = {}
    tokens: list[str] = []
    for number in range(4):
        vault = Vault.start(folder)
        client = vault.keyring(Caller.WEB)
        tokens.append(await client.token("demo", "party.name", "x"))
        cipher = await client.cipher("demo", f"case-{number}")
        vault.kill()
        sealed[f"case-{number}"] = cipher.seal(RetentionClass.DECISION, "c", b"value")
        await client.aclose()
    with running(folder) as vault:
        client = vault.keyring(Caller.POOL)
        for scope, value in sealed.items():
            assert (await client.cipher("demo", scope)).open(RetentionClass.DECISION, "c", value) == b"value"
        await client.aclose()
    assert len(set(tokens)) == 1


async def test_a_client_goes_on_when_the_vault_comes_back(folder: Path) -> None:
    vaults = [Vault.start(folder)]

    async def restart(_: float) -> None:
        vaults.append(Vault.start(folder))

    client = vaults[0].keyring(Caller.WEB, pause=restart)
    await client.cipher("demo", "case-1")
    vaults[0].kill()
    assert await client.cipher("demo", "case-2")
    assert len(vaults) == 2
    await client.aclose()
    vaults[1].kill()


async def test_its_output_holds_no_secret(folder: Path) -> None:
    with running(folder) as vault:
        client = vault.keyring(Caller.WEB)
        await client.cipher("demo", "case-1")
        stranger = VaultKeyring(str(vault.socket), "a-wrong-token", pause=no_pause)
        with pytest.raises(DiwanError):
            await stranger.cipher("demo", "case-1")
        await client.aclose()
        await stranger.aclose()
        vault.stop()
        assert "vault.caller.refused" in vault.output
        assert "/v1/keys HTTP" not in vault.output
        secrets = [vault.token(caller) for caller in Caller] + ["a-wrong-token", (folder / "kek.json").read_text()]
        assert not [each for each in secrets if each in vault.output]


def test_it_stops_when_told_and_removes_its_socket(folder: Path) -> None:
    vault = Vault.start(folder)
    assert vault.socket.exists()
    assert vault.stop() == 0
    assert not vault.socket.exists()
    assert not list(folder.glob("vault.sqlite-*"))
    Vault.start(folder).kill()


def test_its_socket_is_its_owners_only(vault: Vault) -> None:
    mode = vault.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_its_socket_is_at_no_moment_open_to_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def see(path: Path, _: int) -> None:
        seen.append(stat.S_IMODE(path.stat().st_mode))

    monkeypatch.setattr("os.chmod", see)
    with listening(str(folder / "v.sock"), "vault", mode=0o660):
        assert seen == [0o600]


def test_a_second_vault_on_the_same_socket_is_refused(vault: Vault, folder: Path) -> None:
    with pytest.raises(Conflict) as raised:
        listen.serve(VaultFiles.in_folder(folder), str(vault.socket))
    assert raised.value.code == "vault.running_already"
    assert vault.process.poll() is None
    assert vault.socket.exists()


async def test_it_listens_on_a_loopback_port_where_asked(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    vault = Vault.start(folder, f"http://127.0.0.1:{port}")
    try:
        client = VaultKeyring(f"http://127.0.0.1:{port}", vault.token(Caller.WEB))
        await client.ready()
        assert await client.cipher("demo", "case-1")
        await client.aclose()
    finally:
        vault.kill()


def test_a_taken_port_is_named(folder: Path) -> None:
    files = initialised(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidInput) as raised:
            listen.serve(files, f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert raised.value.code == "vault.port_unusable"


def test_a_socket_path_that_cannot_be_is_explained(folder: Path) -> None:
    files = initialised(folder)
    with pytest.raises(InvalidInput) as raised:
        listen.serve(files, str(folder / ("x" * 100)))
    assert raised.value.code == "vault.socket_path_unusable"
    with pytest.raises(InvalidInput) as raised:
        listen.serve(files, str(folder / "missing" / "v.sock"))
    assert raised.value.code == "vault.socket_folder_unusable"


def test_an_exposed_key_file_stops_the_start(folder: Path) -> None:
    files = initialised(folder)
    (folder / "kek.json").chmod(0o640)
    with pytest.raises(NeedsPerson) as raised:
        listen.serve(files, str(folder / "v.sock"))
    assert raised.value.code == "secret.file_exposed"
    assert not (folder / "v.sock").exists()


def test_initialising_twice_is_refused_and_changes_nothing(folder: Path) -> None:
    files = initialised(folder)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    with pytest.raises(Conflict):
        initialised(folder)
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    assert setup.is_initialised(files)


def test_initialising_goes_on_after_a_crash_half_way(folder: Path) -> None:
    files = initialised(folder)
    web = callers.read_token(folder / "web.token")
    for lost in (folder / "kek.json", files.callers, folder / "worker.token"):
        lost.unlink()
    assert not setup.is_initialised(files)
    initialised(folder)
    _, hashes = setup.open_vault(files)
    assert callers.identify(web, hashes) is Caller.WEB
    assert callers.identify(callers.read_token(folder / "worker.token"), hashes) is Caller.WORKER


async def test_a_lost_key_file_is_not_replaced_once_keys_exist(folder: Path) -> None:
    with running(folder) as vault:
        client = vault.keyring(Caller.WEB)
        await client.cipher("demo", "case-1")
        await client.aclose()
    (folder / "kek.json").unlink()
    with pytest.raises(Conflict) as raised:
        initialised(folder)
    assert raised.value.code == "vault.key_file_lost"
    assert "backup" in raised.value.remedy
    assert not (folder / "kek.json").exists()


def test_every_secret_it_makes_is_private(folder: Path) -> None:
    initialised(folder)
    found = subprocess.run(["find", folder, "-type", "f", "-perm", "/077"], capture_output=True, text=True, check=True)
    assert found.stdout == ""


def test_a_role_of_a_later_version_gets_its_token(folder: Path) -> None:
    files = initialised(folder)
    tokens = {caller: folder / f"{caller}.token" for caller in Caller}
    _, hashes = setup.open_vault(files)
    callers.replace_hashes(files.callers, {caller: hashes[caller] for caller in hashes if caller is not Caller.ERASER})
    (folder / "eraser.token").unlink()
    assert setup.add_callers(files, tokens) == {Caller.ERASER}
    _, after = setup.open_vault(files)
    assert callers.identify(callers.read_token(folder / "eraser.token"), after) is Caller.ERASER
    assert {caller: after[caller] for caller in hashes if caller is not Caller.ERASER} == {
        caller: hashes[caller] for caller in hashes if caller is not Caller.ERASER
    }
    assert stat.S_IMODE(files.callers.stat().st_mode) == 0o600
    assert setup.add_callers(files, tokens) == frozenset()


def test_what_lies_beside_it_and_no_destruction_reaches_is_named(folder: Path) -> None:
    """Copies that a restore put aside, or that a process left half-way when it was killed."""
    files = initialised(folder)
    left = {
        "vault.sqlite.replaced-20261127T093000Z",
        ".vault.sqlite.restored",
        ".kek.json.0123",
        "..kek.json.0123.4567",
    }
    with running(folder) as vault:
        assert setup.left_behind(files) == []
        vault.kill()
        assert "vault.copies.left_behind" not in vault.output
    assert (folder / "vault.sqlite-wal").exists()
    for name in left:
        (folder / name).touch(0o600)
    assert {path.name for path in setup.left_behind(files)} == left
    with running(folder) as vault:
        assert vault.stop() == 0
    (warning,) = [line for line in vault.output.splitlines() if "vault.copies.left_behind" in line]
    assert all(name in warning for name in left)
