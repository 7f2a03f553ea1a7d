"""Debian's Postgres and Temporal's production server on it, in a folder of the bench's own, on free loopback ports.

Postgres keeps its production settings: fsync, full_page_writes and synchronous_commit are on. Diwan's database and the
two of Temporal lie on the one server, so that both sides of the bench pay for the same disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from bench import programs
from bench.processes import Process, bound
from diwan.domain.errors import Final
from diwan.embedded import launch, ports
from diwan.embedded.postgres import SUPERUSER, EmbeddedPostgres

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "400",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "password_encryption": "scram-sha-256",
    "log_statement": "none",
    "timezone": "UTC",
}
TEMPORAL_ROLE, TEMPORAL_PASSWORD = "temporal", "bench-only"
# As docs/operations.md advises. At Go's own 100 the collector of so small a heap runs all the time, and takes for it
# what the cores have left: what Temporal uses for a step then grows with what others leave it, on either side.
COLLECTOR = {"GOGC": "400"}
_DATABASES = ("temporal", "temporal_visibility")
_SHARDS = 4


class DebianPostgres(EmbeddedPostgres):
    """Debian's server in place of the wheel's: with btree_gin, and durable."""

    def __init__(self, folder: Path, found: programs.Postgres) -> None:
        super().__init__(folder, secrets_dir=folder.parent / "secrets")
        self._found = found

    def command(self) -> list[str]:
        settings = [part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]
        where = ("-D", str(self.data_dir), "-k", str(self.socket_dir), "-p", str(self.port))
        return launch.command(signal.SIGINT, self._found.bin / "postgres", *where, *settings, account=self.account)

    def _initdb(self) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.place, prefix="pw-", encoding="ascii") as file:
            file.write(self._password(SUPERUSER) + "\n")
            file.flush()
            if self.account is not None:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            arguments = ("-D", str(self.data_dir), "-U", SUPERUSER, "-A", "scram-sha-256", "--pwfile", file.name)
            done = subprocess.run(
                launch.command(
                    signal.SIGKILL,
                    self._found.bin / "initdb",
                    *arguments,
                    *("--locale=C.UTF-8", "-E", "UTF8"),
                    account=self.account,
                ),
                capture_output=True,
                text=True,
                cwd="/",
                env=self.environment(),
                check=False,
            )
        if done.returncode != 0:
            raise Final("bench.initdb_failed", f"initdb failed: {done.stderr.strip()[-300:]}", "")

    def process(self, log: Path) -> Process:
        async def ready() -> bool:
            return self.ready()

        return Process("postgres", self.command(), log, self.environment(), ready, signal.SIGINT)

    def superuser(self, database: str = SUPERUSER) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url(SUPERUSER, database), autocommit=True)

    def make_temporal_databases(self, sql_tool: Path) -> None:
        """Role, databases and schema, the latter by Temporal's own tool."""
        with self.superuser() as connection:
            role, password = sql.Identifier(TEMPORAL_ROLE), sql.Literal(TEMPORAL_PASSWORD)
            connection.execute(sql.SQL("create role {} login password {}").format(role, password))
            for name in _DATABASES:
                connection.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(name), role))
        for name in _DATABASES:
            schema = f"postgresql/v12/{name.removeprefix('temporal_')}"
            self._sql_tool(sql_tool, name, "setup-schema", "-v", "0.0")
            self._sql_tool(sql_tool, name, "update-schema", "--schema-name", schema)

    def _sql_tool(self, tool: Path, database: str, *arguments: str) -> None:
        environment = {
            "SQL_PLUGIN": "postgres12",
            "SQL_HOST": "127.0.0.1",
            "SQL_PORT": str(self.port),
            "SQL_USER": TEMPORAL_ROLE,
            "SQL_PASSWORD": TEMPORAL_PASSWORD,
            "SQL_DATABASE": database,
        }
        done = subprocess.run([tool, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = ((done.stdout + done.stderr).strip().splitlines() or ["no reason given"])[-1]
            raise Final("bench.schema_failed", f"temporal-sql-tool {arguments[0]} failed: {last[:300]}", "")


class ProductionTemporal:
    """All four services in one process, as small installations run it."""

    def __init__(self, folder: Path, program: Path, postgres: DebianPostgres) -> None:
        self.folder = folder
        self._program = program
        names = ("frontend", "http", "history", "matching", "worker")
        self._ports = {name: ports.free_port() for name in (*names, *(f"{name}_members" for name in names))}
        folder.mkdir(parents=True)
        self._write("dynamic.yaml", _DYNAMIC)
        self._write("server.yaml", self._configuration(postgres))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._ports['frontend']}"

    def process(self, log: Path) -> Process:
        command = bound(self._program, "--config-file", str(self.folder / "server.yaml"), "--allow-no-auth", "start")
        environment = {"PATH": os.defpath, "HOME": str(self.folder), **COLLECTOR}
        return Process("temporal", command, log, environment, self._ready)

    async def make_namespace(self, name: str) -> None:
        """Registered, and known to every part of the server."""
        client = await Client.connect(self.address)
        request = RegisterNamespaceRequest(namespace=name)
        request.workflow_execution_retention_period.FromSeconds(86_400)
        await client.workflow_service.register_namespace(request)

    async def _ready(self) -> bool:
        try:
            client = await Client.connect(self.address, namespace="temporal-system")
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="temporal-system"))
        except (RPCError, RuntimeError):
            return False
        return True

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _configuration(self, postgres: DebianPostgres) -> str:
        services = "".join(
            f"  {name}:\n    rpc:\n      grpcPort: {self._ports[name]}\n"
            f"      membershipPort: {self._ports[f'{name}_members']}\n      bindOnIP: 127.0.0.1\n"
            + (f"      httpPort: {self._ports['http']}\n" if name == "frontend" else "")
            for name in ("frontend", "history", "matching", "worker")
        )
        return _CONFIGURATION.format(
            shards=_SHARDS,
            stores=_store("default", "temporal", postgres.port, 20)
            + _store("visibility", _DATABASES[1], postgres.port, 4),
            services=services,
            frontend=self._ports["frontend"],
            dynamic=self.folder / "dynamic.yaml",
        )


def _store(name: str, database: str, port: int, connections: int) -> str:
    return f"""
    {name}:
      sql:
        pluginName: postgres12
        databaseName: {database}
        connectAddr: 127.0.0.1:{port}
        connectProtocol: tcp
        user: {TEMPORAL_ROLE}
        password: {TEMPORAL_PASSWORD}
        maxConns: {connections}
        maxIdleConns: {connections}
        maxConnLifetime: 1h"""


# Priority is honoured by default; fairness wants its flag. Order holds per partition, and each host has a queue of its
# own, so every queue has one.
_DYNAMIC = """
matching.enableFairness: [{value: true}]
matching.numTaskqueueReadPartitions: [{value: 1}]
matching.numTaskqueueWritePartitions: [{value: 1}]
"""


_CONFIGURATION = """
log: {{stdout: true, level: warn}}
persistence:
  defaultStore: default
  visibilityStore: visibility
  numHistoryShards: {shards}
  datastores:{stores}
global:
  membership: {{maxJoinDuration: 30s, broadcastAddress: 127.0.0.1}}
services:
{services}
clusterMetadata:
  enableGlobalNamespace: false
  failoverVersionIncrement: 10
  masterClusterName: active
  currentClusterName: active
  clusterInformation:
    active: {{enabled: true, initialFailoverVersion: 1, rpcName: frontend, rpcAddress: "localhost:{frontend}"}}
dcRedirectionPolicy: {{policy: noop}}
publicClient: {{hostPort: "127.0.0.1:{frontend}"}}
dynamicConfigClient: {{filepath: "{dynamic}", pollInterval: 60s}}
"""


def remove(postgres: DebianPostgres) -> None:
    """Data and socket: as root they lie outside the bench's folder, where the database's user can reach them."""
    for folder in (postgres.place, postgres.socket_dir):
        shutil.rmtree(folder, ignore_errors=True)
