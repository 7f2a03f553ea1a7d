"""Bounds hold: a hostile file costs its reader process, never the service, and the next document is read."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from diwan.documents.inspect import DocumentStatus, Limits
from diwan.documents.readers import Bounds, Readers
from diwan.documents.reasons import Reason
from tests.documents.builders import deflated, page_content, pdf, stream


@pytest.fixture(scope="module")
async def readers() -> AsyncIterator[Readers]:
    async with Readers(size=1) as made:
        await made.warm()
        yield made


async def test_documents_are_inspected_and_read_in_another_process(readers: Readers) -> None:
    inspected = await readers.inspect_document("a.pdf", pdf("Promise of sale 650 000 DH"))
    assert inspected.status is DocumentStatus.ACCEPTED
    extraction = await readers.extract_document(pdf("Promise of sale 650 000 DH"), "d1")
    assert [(page.document, page.page, page.text) for page in extraction.pages] == [
        ("d1", 1, "Promise of sale 650 000 DH")
    ]


async def test_a_warm_reader_needs_little_time_of_the_processor(readers: Readers) -> None:
    """0.03 s a document; of the processor, which a busy machine does not make longer, unlike the time on the wall."""
    data = pdf("A page of text.", pages=3)
    await readers.extract_document(data, "d")
    (process,) = _processes(readers)
    before = _processor_seconds(process)
    for _ in range(10):
        await readers.inspect_document("a.pdf", data)
        await readers.extract_document(data, "d")
    assert _processes(readers) == [process]
    assert (_processor_seconds(process) - before) / 10 < 0.5


async def test_too_large_a_file_does_not_even_reach_a_reader() -> None:
    async with Readers(size=1) as cold:
        inspected = await cold.inspect_document("a.pdf", bytes(2000), limits=Limits(max_bytes=1000))
        assert inspected.reason == Reason.TOO_LARGE
        assert _processes(cold) == []


async def test_memory_is_bounded() -> None:
    """A stream of a type that inspection does not count, inflating to more than the reader may have."""
    hungry = pdf(content=deflated(bytes(60_000_000)))
    async with Readers(size=1, bounds=Bounds(memory=200_000_000)) as readers:
        assert (await readers.inspect_document("a.pdf", hungry)).reason == Reason.TOO_COSTLY
        assert (await readers.inspect_document("a.pdf", pdf())).status is DocumentStatus.ACCEPTED


async def test_time_is_bounded_and_the_next_document_is_read() -> None:
    endless = pdf(content=stream(b"q " * 8_000_000))
    async with Readers(size=1, bounds=Bounds(extract_s=1.5, ocr_s=1.5)) as readers:
        await readers.inspect_document("a.pdf", pdf())
        async with asyncio.timeout(100):  # it would be read for hours
            extraction = await readers.extract_document(endless, "d")
        assert (extraction.unreadable, extraction.flags) == (True, ["reading_failed"])
        assert (await readers.inspect_document("a.pdf", pdf())).status is DocumentStatus.ACCEPTED


async def test_processor_time_is_bounded() -> None:
    endless = pdf(content=stream(page_content("Enough words to be read.") + b" q Q" * 1_500_000))
    async with Readers(size=1, bounds=Bounds(cpu_s=0)) as readers:
        assert (await readers.extract_document(endless, "d")).flags == ["reading_failed"]


async def test_a_reader_that_was_killed_is_replaced_and_its_document_read(readers: Readers) -> None:
    (process,) = _processes(readers)
    os.kill(process, signal.SIGKILL)
    assert (await readers.inspect_document("a.pdf", pdf())).status is DocumentStatus.ACCEPTED


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next(readers: Readers) -> None:
    asked = asyncio.create_task(readers.extract_document(pdf("first", pages=150), "first"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert readers._slots.empty()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (await readers.extract_document(pdf("A second document."), "second")).pages[0].document == "second"


async def test_a_reader_is_confined(readers: Readers) -> None:
    """What that means is in test_confine.py."""
    (process,) = _processes(readers)
    said = _status(process)
    assert said["NoNewPrivs"].strip() == "1"
    assert int(said["CapEff"], 16) == 0


async def test_a_reader_sees_none_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is started with: of its own, nobody but root may look at /proc/<pid>/environ."""
    given: list[list[str]] = []
    start = asyncio.create_subprocess_exec

    async def started(*command: Any, env: dict[str, str], **options: Any) -> asyncio.subprocess.Process:
        given.append(sorted(set(env) - {"LD_LIBRARY_PATH", "TESSDATA_PREFIX"}))
        return await start(*command, env=env, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    monkeypatch.setenv("DIWAN_SECRET", "do not tell")
    async with Readers(size=1) as readers:
        await readers.warm()
        assert given == [["LC_ALL", "MALLOC_ARENA_MAX", "OMP_THREAD_LIMIT", "PATH", "PYTHONPATH"]]


def _status(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def _processor_seconds(process: int) -> float:
    """Time of the processor that a process has used: fields 14 and 15 of proc(5), stat."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processes(readers: Readers) -> list[int]:
    """Pids of the pool's living readers."""
    slots = [readers._slots.get_nowait() for _ in range(readers._size)]
    for slot in slots:
        readers._slots.put_nowait(slot)
    return [slot._process.pid for slot in slots if slot is not None]
