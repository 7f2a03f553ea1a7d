"""Temporal's dev server on one SQLite file: durable, for one machine. Production has a cluster instead.

    server = EmbeddedTemporal(home / "temporal", port=0)
    await server.start()
    server.address, server.namespace
    server.stop()

Two servers on one file both run and spoil it: whoever starts one holds the lock on DIWAN_HOME. Any local user
may connect to it, so histories carry no personal data here either.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from datetime import timedelta
from pathlib import Path

from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from diwan.domain.errors import Conflict, DiwanError, Final, Unavailable
from diwan.embedded import launch, ports, temporal_program

NAMESPACE = "diwan"
RETENTION = timedelta(days=30)  # of closed runs; the record that lasts is Postgres's

# 1.29 ignores priority and fairness without the first two; order holds per partition, so there is one.
_DYNAMIC = (
    "matching.useNewMatcher=true",
    "matching.enableFairness=true",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
# A write-ahead log synced at checkpoints: nothing is lost with the process. A power cut may lose the last moments,
# which Postgres, the authority, makes good: a workflow starts again from there.
_PRAGMAS = ("journal_mode=wal", "synchronous=1")


class EmbeddedTemporal:
    """One dev server; `port` 0 takes a free one. Errors: `Conflict` when the port is taken, `Final` when the
    program is missing, `Unavailable` when it does not come up."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        self.namespace = NAMESPACE
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, *, within_s: float = 30.0) -> None:
        """Start and return when the namespace answers. The server ends with the thread that started it."""
        self.prepare()
        log = self.folder / "temporal.log"
        self._process = self._spawn(log)
        deadline = time.monotonic() + within_s
        while not await self.ready():
            if self._process.poll() is not None:
                raise why_not_started(log.read_bytes()[-4000:].decode(errors="replace"), self.port)
            if time.monotonic() > deadline:
                self.stop()
                raise Unavailable("temporal.slow", f"Temporal was not ready after {within_s:.0f} s.", f"See {log}.")
            await asyncio.sleep(0.05)
        await self.provision()

    def _spawn(self, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            log.chmod(0o600)
            return subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment()
            )

    def stop(self, *, timeout: float = 15.0) -> None:
        """Stop what `start` started."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would. For tests."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    # --- what a supervisor needs ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = ports.claim(self.port, "DIWAN_TEMPORAL_PORT")

    def command(self) -> list[str]:
        return launch.command(
            signal.SIGTERM,
            temporal_program.require(),
            *("server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)),
            *("--db-filename", str(self.folder / "temporal.db"), "--namespace", NAMESPACE),
            *(part for value in _DYNAMIC for part in ("--dynamic-config-value", value)),
            *(part for value in _PRAGMAS for part in ("--sqlite-pragma", value)),
            *("--log-format", "json", "--log-level", "warn", "--disable-config-file", "--disable-config-env"),
        )

    def environment(self) -> dict[str, str]:
        # HOME is for the program's own lookup of files; the user's settings are none of the server's business.
        return {"PATH": os.defpath, "HOME": str(self.folder), "TZ": "UTC"}

    async def ready(self) -> bool:
        """Whether the server answers for our namespace."""
        try:
            client = await asyncio.wait_for(Client.connect(self.address, namespace=NAMESPACE), 5)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
        except (RPCError, RuntimeError, TimeoutError):
            return False
        return True

    async def provision(self) -> None:
        """Set how long closed runs are kept. Idempotent."""
        client = await Client.connect(self.address, namespace=NAMESPACE)
        config = NamespaceConfig()
        config.workflow_execution_retention_ttl.FromTimedelta(RETENTION)
        await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=NAMESPACE, config=config))


def why_not_started(output: str, port: int) -> DiwanError:
    """Turn what the server said into an error with a remedy."""
    if "address already in use" in output or "can't set frontend port" in output:
        return Conflict(
            "port.taken", f"Port {port} on 127.0.0.1 is taken.", "Stop what uses it or set DIWAN_TEMPORAL_PORT."
        )
    if "disk is full" in output or "no space left on device" in output:
        return Final("disk.full", "The disk is full: Temporal could not write its file.", "Free some space (df -h).")
    last = (output.strip().splitlines() or ["no reason given"])[-1]
    return Final("temporal.failed", f"Temporal did not start: {last[:300]}")
