"""Meters: CPU of processes and of Postgres's backends by database, write-ahead log, sizes of histories."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_REPORTED_AFTER_S = 2.0
BENCH = "bench"  # application name of the bench's own connections: none of their CPU counts
_TEMPORAL = ("temporal", "temporal_visibility")


def cpu_ms(pid: int) -> float:
    """User and system CPU of a process and all its threads so far; 0 for one that is gone (proc(5), stat)."""
    return cpu_of_stat(_stat(pid))


def cpu_of_stat(stat: str) -> float:
    fields = _fields(stat)
    return (int(fields[11]) + int(fields[12])) * _TICK_MS if fields else 0.0


def family_ms(pid: int) -> float:
    """As `cpu_ms`, with its children: those that run, and those that have ended and were waited for."""
    fields = _fields(_stat(pid))
    ended = (int(fields[13]) + int(fields[14])) * _TICK_MS if fields else 0.0
    return cpu_ms(pid) + ended + sum(cpu_ms(child) for child in _children(pid))


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _fields(stat: str) -> list[str]:
    """The fields after `pid (name)`: a name may hold spaces and brackets."""
    return stat.rpartition(")")[2].split()


def busy_ms() -> float:
    """CPU that the whole machine has used so far, all cores together."""
    line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    user, nice, system, _idle, _wait, irq, soft, *_ = (int(value) for value in line.split()[1:])
    return (user + nice + system + irq + soft) * _TICK_MS


@dataclass(frozen=True)
class Reading:
    """CPU in ms so far: `cpu` by part, `machine` of everything that runs on it."""

    at: float
    cpu: Mapping[str, float]
    machine: float


@dataclass(frozen=True)
class Wal:
    """Of the whole Postgres server so far."""

    bytes: int
    syncs: int
    commits: int

    def since(self, before: Wal) -> Wal:
        return Wal(self.bytes - before.bytes, self.syncs - before.syncs, self.commits - before.commits)


@dataclass(frozen=True)
class Spent:
    """What passed between two readings, in CPU ms. `others`: of processes that are not the bench's."""

    seconds: float
    cpu: Mapping[str, float]
    others: float

    @property
    def total(self) -> float:
        return sum(self.cpu.values())


class Meters:
    """`processes`: part → pid. Postgres is told apart by what each of its processes works for."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], postmaster: int) -> None:
        self._connection = connection
        self._postmaster = postmaster
        self._seen: dict[int, tuple[str, float]] = {}

    def read(self, processes: Mapping[str, int]) -> Reading:
        cpu = {part: cpu_ms(pid) for part, pid in processes.items()}
        for part, value in self._postgres():
            cpu[part] = cpu.get(part, 0.0) + value
        return Reading(time.monotonic(), cpu, busy_ms())

    async def wal(self) -> Wal:
        """What the statistics say once the backends, now idle, have reported: they do so once a second at most."""
        await asyncio.sleep(_REPORTED_AFTER_S)
        row = self._connection.execute(
            "select wal_bytes::bigint, wal_sync::bigint, (select sum(xact_commit)::bigint from pg_stat_database)"
            " from pg_stat_wal"
        ).fetchone()
        assert row is not None
        return Wal(*(int(str(value)) for value in row))

    def _postgres(self) -> Iterator[tuple[str, float]]:
        rows = self._connection.execute(
            "select pid, coalesce(datname, ''), application_name from pg_stat_activity"
        ).fetchall()
        known = {int(str(pid)): (str(datname), str(name)) for pid, datname, name in rows}
        # One that ended since it was last seen keeps what it had used: a counter never goes back.
        for pid in _children(self._postmaster):
            datname, name = known.get(pid, ("", ""))
            self._seen[pid] = (_part(datname, name), cpu_ms(pid))
        yield from (each for each in self._seen.values() if each[0])
        yield "postgres, shared", cpu_ms(self._postmaster)


def _part(datname: str, application: str) -> str:
    if application == BENCH:
        return ""
    if datname in _TEMPORAL:
        return "postgres, for temporal"
    return "postgres, for diwan" if datname == "diwan" else "postgres, shared"


def _children(pid: int) -> list[int]:
    """Its child processes, by the parent that each process names."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            fields = _fields(_stat(int(process.name)))
            if fields and int(fields[1]) == pid:
                found.append(int(process.name))
    return found


def spent(before: Reading, after: Reading, *, idle: Mapping[str, float] | None = None) -> Spent:
    """The difference, by part, less what the parts use in a second when nothing is asked of them (`idle`, CPU ms).

    A server polls and ticks however little it does: in a slow round there is more of that to each step, and a step
    does not cause it.
    """
    seconds = after.at - before.at
    used = {part: value - before.cpu.get(part, 0.0) for part, value in after.cpu.items()}
    cpu = {part: max(value - (idle or {}).get(part, 0.0) * seconds, 0.0) for part, value in used.items()}
    return Spent(
        seconds,
        cpu,
        max(after.machine - before.machine - sum(used.values()), 0.0),
    )
