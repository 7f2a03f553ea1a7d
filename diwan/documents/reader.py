"""The process that opens hostile bytes: `python -m diwan.documents.reader`, driven by `readers.py` over its pipes.

A frame is four bytes of length, then JSON; a request's document follows its frame. The process confines (confine.py)
and bounds itself before the first byte is parsed. Its parent throws it away when it dies, hangs or answers nonsense.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel

from diwan.documents.confine import confine
from diwan.documents.extract import extract
from diwan.documents.inspect import Limits, inspect

OUT_OF_MEMORY = 3  # exit status: the parent need not try this document again


class Request(BaseModel):
    """`cpu_s`: seconds of processor time that this request may take; `size`: bytes of the document that follows."""

    act: Literal["inspect", "extract"]
    size: int
    cpu_s: int
    name: str = ""
    declared: str = ""
    limits: Limits = Limits()
    document: str = ""
    with_ocr: bool = True


def answer(request: Request, data: bytes) -> str:
    """JSON of Inspected or Extraction."""
    if request.act == "inspect":
        return inspect(request.name, data, request.declared, request.limits).model_dump_json()
    return extract(data, request.document, with_ocr=request.with_ocr).model_dump_json()


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        os._exit(0)  # the parent is gone
    return data


def _bound(memory: int) -> None:
    """No more memory than `memory` bytes, no files, no core dump: for this process and what it starts.

    Not the number of processes: the kernel counts those of the user, and so the service's own.
    """
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))


def _bound_next_request(cpu_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime) + cpu_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))


def main(memory: int) -> None:
    # Answers go to the pipe that was standard output; whatever a C library prints goes nowhere.
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    requests: Any = sys.stdin.buffer
    confine()
    _bound(memory)
    while True:
        (length,) = struct.unpack(">I", _read_exactly(requests, 4))
        request = Request.model_validate_json(_read_exactly(requests, length))
        data = _read_exactly(requests, request.size)
        _bound_next_request(request.cpu_s)
        try:
            payload = answer(request, data).encode()
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        answers.write(frame(payload))
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
