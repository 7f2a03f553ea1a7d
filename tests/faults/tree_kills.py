"""kill -9 of sequencer, signer and Postgres at seeded moments, while entries are written; then the tree is judged.

`python -m tests.faults.tree_kills [--kills N] [--seed N]`; `make tree-kills` runs 200. Real processes on a real
Postgres. What a checkpoint once said is kept by somebody outside (`Outsider`): a size that has two roots, or a root
that the tree at the end has not, is a finding, as is whatever the checker (tests/faults/checks/tree.py) finds. Prints
how long entries waited for their place.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from diwan.embedded.postgres import EmbeddedPostgres
from diwan.ledger.entry import EntryActor, EntryHeader, encode, entry_hash
from diwan.store import migrate
from tests.faults.checker import read
from tests.faults.checks import tree
from tests.faults.evidence import Evidence, Report

TENANT = "demo"
WRITERS = 4
_PATIENCE_S = 60.0


@dataclass
class Process:
    """`diwan NAME`, started again as soon as it was killed."""

    name: str
    environment: dict[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", "diwan.cli.main", self.name]
            self.running = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)

    def kill(self) -> None:
        assert self.running is not None
        self.running.kill()
        self.running.wait()


@dataclass
class Outsider:
    """Asks for the newest checkpoint again and again, and keeps what it was told."""

    database: str
    stop: threading.Event
    said: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes])
    contradictions: list[str] = field(default_factory=list[str])

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(self.database, autocommit=True, connect_timeout=2) as connection:
                    while not self.stop.is_set():
                        self._ask(connection)
                        self.stop.wait(0.02)
            except psycopg.Error:
                self.stop.wait(0.1)

    def _ask(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        for shard, size, root in connection.execute("select shard, size, root from ledger_checkpoint").fetchall():
            assert isinstance(shard, str)
            assert isinstance(size, int)
            before = self.said.setdefault((shard, size), bytes(root))  # type: ignore[call-overload]
            if before != root:
                self.contradictions.append(f"{shard} at {size} had two roots")


@dataclass
class Writer:
    """Adds entries to a chain of its own, as fast as it may. A commit whose answer was lost is looked up."""

    database: str
    chain: str
    stop: threading.Event
    written: int = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(self.database, connect_timeout=2) as connection:
                    connection.execute("select set_config('diwan.tenant', %s, false)", (TENANT,))
                    connection.commit()
                    while not self.stop.is_set():
                        self._write(connection)
                        self.stop.wait(0.005)
            except psycopg.Error:
                self.stop.wait(0.05)

    def _write(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        last = connection.execute(
            "select seq, hash from entry where tenant = %s and chain = %s order by seq desc limit 1",
            (TENANT, self.chain),
        ).fetchone()
        seq, previous = (int(last[0]) + 1, bytes(last[1])) if last else (1, None)  # type: ignore[call-overload]
        header = encode(
            EntryHeader(
                tenant=TENANT,
                chain=self.chain,
                seq=seq,
                prev=previous.hex() if previous else None,
                at=datetime.now(UTC),
                kind="tests:entry:written",
                actor=EntryActor(kind="system", subject="test"),
            )
        )
        connection.execute(
            "insert into entry (tenant, chain, seq, hash, prev_hash, header, kind, at) "
            "values (%s, %s, %s, %s, %s, %s, 'tests:entry:written', now())",
            (TENANT, self.chain, seq, entry_hash(header), previous, header),
        )
        connection.commit()
        self.written = seq


@dataclass(frozen=True)
class Outcome:
    killed: Counter[str]
    findings: list[str]
    entries: int
    sizes: int
    waited_s: dict[str, float]
    seconds: float


def run(kills: int, seed: int, folder: Path) -> Outcome:
    """Blocks until all is at rest again. `folder` is short and open to the database's user."""
    dice, began = random.Random(seed), time.monotonic()  # noqa: S311 - to be repeated, not to be secret
    server = EmbeddedPostgres(folder / "postgres", secrets_dir=folder / "secrets")
    server.start()
    migrate.upgrade(server.url("diwan_owner"))
    processes = _processes(server, folder)
    stop = threading.Event()
    outsider = Outsider(server.url("diwan_auditor"), stop)
    writers = [Writer(server.url("diwan_worker"), f"tests/{number}", stop) for number in range(WRITERS)]
    threads = [threading.Thread(target=each.run, daemon=True) for each in (outsider, *writers)]
    killed: Counter[str] = Counter()
    try:
        for process in processes.values():
            process.start()
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(dice.uniform(0.05, 1.5))
            what = dice.choice([*processes, "postgres"])
            killed[what] += 1
            if what == "postgres":
                _kill_postgres(server)
            else:
                processes[what].kill()
                processes[what].start()
        for writer in writers:
            _until(lambda writer=writer: writer.written > 0, f"{writer.chain} was never written")
        stop.set()
        for thread in threads:
            thread.join(_PATIENCE_S)
        _until(lambda: _at_rest(server), "entries still wait, or the tree is not signed")
        findings, waited, entries = _judged(server, outsider)
    finally:
        stop.set()
        for process in processes.values():
            process.kill()
        server.remove()
    return Outcome(killed, findings, entries, len(outsider.said), waited, time.monotonic() - began)


def _processes(server: EmbeddedPostgres, folder: Path) -> dict[str, Process]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIWAN_")}
    common = {
        **inherited,
        "DIWAN_HOME": str(folder / "home"),
        "DIWAN_LEDGER_ORIGIN": "ledger.example/kills",
        "DIWAN_SIGNER_ADDRESS": str(folder / "signer.sock"),
        "DIWAN_SIGNER_DIR": str(folder / "signer"),
        "DIWAN_SIGNER_TOKEN_FILE": str(folder / "signer" / "token"),
        "DIWAN_DATABASE_URL_SEQUENCER": server.url("diwan_sequencer"),
    }
    before = {name: value for name, value in common.items() if name != "DIWAN_SIGNER_TOKEN_FILE"}
    subprocess.run([sys.executable, "-m", "diwan.cli.main", "signer", "--init"], env=before, check=True)
    return {name: Process(name, common, folder / f"{name}.log") for name in ("sequencer", "signer")}


def _kill_postgres(server: EmbeddedPostgres) -> None:
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.start()


def _at_rest(server: EmbeddedPostgres) -> bool:
    with psycopg.connect(server.url("postgres"), connect_timeout=5) as connection:
        row = connection.execute(
            "select (select count(*) from ledger_pending), (select max(size) from ledger_shard), "
            "(select max(size) from ledger_checkpoint)"
        ).fetchone()
    assert row is not None
    return row[0] == 0 and row[1] == row[2]


def _judged(server: EmbeddedPostgres, outsider: Outsider) -> tuple[list[str], dict[str, float], int]:
    report = Report()
    with psycopg.connect(server.url("postgres")) as connection:
        stored = read(connection)
        tree.check(stored, Evidence(database=server.url("postgres")), report)
        row = connection.execute(
            "select percentile_cont(array[0.5, 0.99, 1]) within group "
            "(order by extract(epoch from placed_at - added_at)) from ledger_leaf"
        ).fetchone()
    hashes: dict[str, list[bytes]] = defaultdict(list)
    for leaf in stored["ledger_leaf"]:
        hashes[leaf["shard"]].append(bytes(leaf["hash"]))
    findings = [str(finding) for finding in report.findings] + outsider.contradictions
    for (shard, size), root in outsider.said.items():
        if tree.root(hashes[shard][:size]) != root:
            findings.append(f"{shard} at {size} had another root")
    assert row is not None
    seconds = [float(each) for each in row[0]]  # type: ignore[attr-defined]
    waited: dict[str, float] = dict(zip(["median", "p99", "longest"], seconds, strict=True))
    return findings, waited, sum(map(len, hashes.values()))


def _until(arrived: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not arrived():
        if time.monotonic() > until:
            raise TimeoutError(otherwise)
        time.sleep(0.1)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Kill what builds the ledger's tree, and judge the tree.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="diwan-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        found = run(given.kills, given.seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"seed {given.seed}: {dict(found.killed)} killed in {found.seconds:.0f} s; {found.entries} entries, ", end="")
    print(f"{found.sizes} sizes seen signed; waited for a place: {found.waited_s}")
    print(*found.findings or ["nothing lost, doubled or contradicted"], sep="\n")
    return 1 if found.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
