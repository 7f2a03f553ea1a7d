"""The embedded Postgres: private, restartable, and clear about what stops it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from diwan.domain.errors import Conflict, Final
from diwan.embedded import accounts, binaries, launch
from diwan.embedded.postgres import ROLES, EmbeddedPostgres
from tests.embedded.conftest import short_folder

AS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def server() -> Generator[EmbeddedPostgres]:
    folder = short_folder()
    made = EmbeddedPostgres(folder / "postgres", durable=False)
    made.start()
    yield made
    made.remove()
    (folder / "secrets").rmdir()
    folder.rmdir()


def _ask(server: EmbeddedPostgres, query: str, role: str = "diwan_owner") -> object:
    with psycopg.connect(server.url(role)) as connection:
        row = connection.execute(sql.SQL(query)).fetchone()  # pyright: ignore[reportArgumentType]
    assert row is not None
    return row[0]


@pytest.mark.parametrize("role", ROLES)
def test_each_role_connects_with_its_own_password_only(server: EmbeddedPostgres, role: str) -> None:
    assert _ask(server, "select current_user", role) == role
    assert _ask(
        server,
        "select not (rolsuper or rolbypassrls or rolcreaterole) from pg_roles where rolname = current_user",
        role,
    )
    other = next(name for name in ROLES if name != role)
    password = (server.secrets_dir / f"postgres-{other}").read_text().strip()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=server.port, user=role, password=password, dbname="diwan")


def test_the_socket_wants_a_password_too(server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"password|Permission denied"):
        psycopg.connect(host=str(server.socket_dir), port=server.port, user="postgres", dbname="postgres")


def test_data_is_private_and_of_no_root_process(server: EmbeddedPostgres) -> None:
    assert server.place.stat().st_mode & 0o077 == 0
    for secret in server.secrets_dir.iterdir():
        assert secret.stat().st_mode & 0o777 == 0o600
    pid = server.running_pid()
    assert Path(f"/proc/{pid}").stat().st_uid != 0


def test_no_password_is_in_the_arguments_and_no_value_in_the_log(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("diwan_owner"), autocommit=True) as connection:
        connection.execute("create table planted (name text primary key)")
        connection.execute("insert into planted values ('Zubayda-4711')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("insert into planted values ('Zubayda-4711')")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("select 'Zubayda-4711'::int")
        connection.execute("drop table planted")
    log = (server.place / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "Zubayda" not in log
    arguments = Path(f"/proc/{server.running_pid()}/cmdline").read_text()
    secrets = [path.read_text().strip() for path in server.secrets_dir.iterdir()]
    assert not [secret for secret in secrets if secret in arguments or secret in log]


def test_what_was_committed_outlives_a_kill(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("diwan_owner"), autocommit=True) as connection:
        connection.execute("create table kept as select 42 as answer")
    pid = server.running_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    server.stop()
    server.start()
    assert _ask(server, "select answer from kept") == 42


def test_a_second_server_on_the_same_data_is_refused(server: EmbeddedPostgres) -> None:
    second = EmbeddedPostgres(server.place, secrets_dir=server.secrets_dir)
    with pytest.raises(Conflict, match="already runs on"):
        second.start()


def test_a_stale_pid_file_that_names_a_stranger_does_not_stop_it(server: EmbeddedPostgres) -> None:
    server.stop()
    # Postgres takes any live process of its own user for its predecessor.
    stranger = subprocess.Popen(
        launch.command(signal.SIGKILL, Path("/bin/sleep"), "300", account=accounts.database_account()), cwd="/"
    )
    try:
        pid_file = server.data_dir / "postmaster.pid"
        lines = [
            str(stranger.pid),
            str(server.data_dir),
            "0",
            str(server.port),
            str(server.socket_dir),
            "",
            "",
            "ready",
        ]
        pid_file.write_text("\n".join(lines) + "\n")
        if server.account is not None:
            os.chown(pid_file, server.account.uid, server.account.gid)
        server.start()
        assert _ask(server, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_pid_file_stays_while_a_process_of_the_old_server_lives(server: EmbeddedPostgres) -> None:
    """Without it Postgres could not tell that shared memory is still in use: two servers on one folder."""
    server.stop()
    backend = subprocess.Popen(["/bin/sleep", "300"], cwd=server.data_dir)
    try:
        pid_file = server.data_dir / "postmaster.pid"
        pid_file.write_text(f"{os.getpid()}\n")
        server.clear_stale_pid()
        assert pid_file.exists()
        backend.kill()
        backend.wait()
        server.clear_stale_pid()
        assert not pid_file.exists()
    finally:
        backend.kill()
        backend.wait()
        server.start()


def test_a_taken_port_says_by_whom(server: EmbeddedPostgres, folder: Path) -> None:
    other = EmbeddedPostgres(folder / "postgres", port=server.port, durable=False)
    with pytest.raises(Conflict) as raised:
        other.start()
    assert f"Port {server.port} on 127.0.0.1 is taken by postgres (pid {server.running_pid()})" in raised.value.message
    assert "DIWAN_POSTGRES_PORT" in raised.value.remedy
    other.remove()


def test_a_path_too_long_for_a_socket_is_no_obstacle(folder: Path) -> None:
    made = EmbeddedPostgres(folder / ("long-" * 30) / "postgres", durable=False)
    try:
        made.start()
        assert _ask(made, "select 1") == 1
        assert len(os.fsencode(made.socket_dir)) < 80
    finally:
        made.remove()


def test_a_full_disk_is_called_that_and_leaves_nothing_half_made(folder: Path) -> None:
    made = EmbeddedPostgres(folder / "postgres", durable=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # writes beyond it fail, as on a full disk
    try:
        with pytest.raises(Final) as raised:
            made.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.code == "disk.full"
    assert not made.data_dir.exists()
    made.start()
    assert _ask(made, "select 1") == 1
    made.remove()


def test_a_folder_out_of_reach_is_left_closed(folder: Path, shared_root: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    made = EmbeddedPostgres(closed / "home" / "postgres", durable=False)
    try:
        made.start()
        assert made.place.is_relative_to(shared_root if AS_ROOT else closed)
        assert closed.stat().st_mode & 0o777 == 0o700
        assert _ask(made, "select 1") == 1
    finally:
        made.remove()


def test_programs_out_of_reach_are_copied_and_checked(folder: Path, shared_root: Path) -> None:
    account, wheel = accounts.database_account(), binaries.postgres("postgres", None)
    site = wheel.parents[3]
    copy = binaries.copied(site)
    program = copy / wheel.relative_to(site)
    assert copy.parent == shared_root
    assert program.read_bytes() == wheel.read_bytes()
    assert accounts.can_enter(program.parent, account)
    told = launch.command(signal.SIGKILL, program.with_name("initdb"), "--version", account=account)
    assert b" 18." in subprocess.run(told, capture_output=True, cwd="/", check=True).stdout
    assert binaries.copied(site) == copy
    program.write_bytes(program.read_bytes() + b"x")
    with pytest.raises(Final, match="are not those"):
        binaries.copied(site)


def test_no_user_to_run_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(accounts, "CANDIDATES", ("no-such-user-here",))
    with pytest.raises(Final, match="useradd"):
        accounts.database_account()
