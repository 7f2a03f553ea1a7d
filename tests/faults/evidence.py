"""What the checker is given, and what it says: evidence from outside the service, rows, findings with names."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """An event that was sent, once a try. `body` is a digest by the sender's own reckoning of all that it says.

    `status` is 0 where no answer came: then nobody knows whether it was accepted. `case` and `number` are the answer's.
    """

    source: str
    id: str
    body: str
    status: int
    case: str = ""
    number: str = ""


@dataclass(frozen=True)
class Acted:
    """A person's act as answered, once a try; `status` 0 where no answer came, `told` what a good one said."""

    task: str
    key: str
    act: str
    status: int
    told: Row = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Delivered:
    """A delivery as the receiver got it. `status` is what it answered (0: it did not); `signed`: the signature held."""

    id: str
    body: str
    status: int
    signed: bool


@dataclass(frozen=True)
class Evidence:
    """`database` is the superuser's conninfo. None for a log that nobody kept: what it would tell is not looked at.

    `at` is the instant at which it is judged: the database's own, unless its cases live at another.
    """

    database: str
    sent: Sequence[Sent] | None = None
    acted: Sequence[Acted] | None = None
    delivered: Sequence[Delivered] | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Finding:
    """`name` is what went wrong, `where` the case, event, run or delivery."""

    name: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}  {self.where}: {self.text}"


@dataclass
class Report:
    """`counts` has what was looked at, and `waiting` what open cases wait for (a name: how many)."""

    findings: list[Finding] = field(default_factory=list[Finding])
    counts: Counter[str] = field(default_factory=Counter[str])
    waiting: Counter[str] = field(default_factory=Counter[str])
    results: Counter[str] = field(default_factory=Counter[str])

    @property
    def names(self) -> set[str]:
        return {finding.name for finding in self.findings}

    def find(self, name: str, where: object, text: str) -> None:
        self.findings.append(Finding(name, str(where), text))


@dataclass(frozen=True)
class Stored:
    """All rows of all tenants as of one snapshot, without sealed values. Entries have their header read as `said`."""

    tables: Mapping[str, list[Row]]
    now: Any

    def __getitem__(self, table: str) -> list[Row]:
        return self.tables[table]

    def of_cases(self, table: str) -> dict[tuple[str, str], list[Row]]:
        """Rows by (tenant, case); those of no case are left out."""
        found: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self[table]:
            case = row["chain"] if table == "entry" else row["case_id"]
            if case is not None:
                found[row["tenant"], case].append(row)
        return found


def doubled(rows: Iterable[Row], *key: str) -> Iterator[tuple[Any, ...]]:
    """Keys that more than one row has."""
    counted = Counter(tuple(row[name] for name in key) for row in rows)
    return (of for of, count in counted.items() if count > 1)


def read_jsonl(path: Path) -> list[Row]:
    """The lines of a log; a last line that was cut off in the middle (its writer died) is left out."""
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    return [json.loads(line) for line in lines[:-1]]
