"""The sample dossiers, each time as another applicant: the papers are set anew with another identity number.

Nobody is granted the same aid twice, so sixty cases need sixty people. All of them are invented.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml

from diwan.cli.demo_samples import Act, Sample, Sending, shipped_samples
from diwan.cli.dossier import File
from tests.faults.evidence import Row
from tools.make_dossiers import SOURCES, _parts, _scan, _set

SOURCE = "urn:diwan:counter"
SUBMITTED, SUPPLIED, WITHDRAWN = (
    f"diwan.{name}" for name in ("application.submitted", "pieces.supplied", "application.withdrawn")
)


@dataclass(frozen=True)
class Event:
    """What a sender sends: a CloudEvent and its documents. `body` is the sender's own digest of all that it says."""

    event: Row
    files: dict[str, bytes]

    @property
    def id(self) -> str:
        return str(self.event["id"])

    @property
    def body(self) -> str:
        said = [self.event["type"], self.event.get("subject", ""), self.event["data"]]
        papers = [hashlib.sha256(content).hexdigest() for content in self.files.values()]
        return hashlib.sha256(json.dumps([said, papers], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Application:
    """One applicant's way: what is sent first, what later, what people do, how it should end.

    `expected` is the sample's expected.json."""

    number: int
    sample: str
    opening: Event
    sendings: tuple[Sending, ...]
    acts: tuple[Act, ...]
    result: str
    expected: Row


@cache
def samples() -> tuple[Sample, ...]:
    return tuple(sorted(shipped_samples(), key=lambda sample: sample.name))


def application(number: int, dice: random.Random) -> Application:
    """The `number`th applicant; every nine of them have each of the samples once. CPU for some tenths of a second."""
    sample = samples()[number % len(samples())]
    was = str(sample.dossier.application["answers"]["identity_number"])
    person = f"ZZ{200_000 + number:06d}"
    said = json.loads(json.dumps(sample.dossier.application).replace(was, person))
    files = tuple(_as_of(sample.name, file, was, person) for file in sample.dossier.files)
    sendings = tuple(
        replace(sending, files=tuple(_as_of(sample.name, file, was, person) for file in sending.files))
        for sending in sample.sendings
    )
    said["reference"] = f"F-{number:05d}-{dice.getrandbits(32):08x}"
    return Application(
        number,
        sample.name,
        event(f"open-{number:05d}", SUBMITTED, "", said, files),
        sendings,
        sample.acts,
        str(sample.expected["result"]),
        sample.expected,
    )


def event(id_: str, type_: str, subject: str, data: Row, files: tuple[File, ...] = ()) -> Event:
    """A CloudEvent whose documents come with it."""
    named = [
        {"name": file.name, "part": f"document-{n}"} | ({"piece": file.piece} if file.piece else {})
        for n, file in enumerate(files, start=1)
    ]
    said: Row = {
        "specversion": "1.0",
        "id": id_,
        "source": SOURCE,
        "type": type_,
        "datacontenttype": "application/json",
        "data": {**data, "documents": named} if named else data,
    }
    if subject:
        said["subject"] = subject
    return Event(said, {f"document-{n}": file.content for n, file in enumerate(files, start=1)})


def _as_of(sample: str, file: File, was: str, person: str) -> File:
    """The same paper of another person."""
    source = _source(sample)
    content: dict[str, Any] | None = source["documents"].get(file.name)
    if content is None or was not in json.dumps(content, ensure_ascii=False):
        return file
    content = json.loads(json.dumps(content).replace(was, person))
    assert content is not None
    pdf = _set({"lang": source["lang"], "specimen": source["specimen"], **content, "parts": _parts(content["blocks"])})
    return replace(file, content=_scan(pdf, **content["scan"]) if content.get("scan") else pdf)


@cache
def _source(sample: str) -> dict[str, Any]:
    return yaml.safe_load((SOURCES / f"{sample}.yaml").read_text(encoding="utf-8"))
