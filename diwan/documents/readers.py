"""A few warm processes that read documents inside bounds, so that no file takes the service down with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

import diwan
from diwan.documents.confine import landlock_version
from diwan.documents.extract import Extraction, failed
from diwan.documents.inspect import Inspected, Limits, quarantined
from diwan.documents.reader import OUT_OF_MEMORY, Request, frame
from diwan.documents.reasons import Reason

_log = structlog.get_logger()

_MAX_ANSWER = 128_000_000  # bytes of JSON; 200 pages at most give far less
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX")  # all that a reader needs of our environment: no secrets


class Bounds(BaseModel):
    """What one reader may use: seconds of wall clock and of processor, bytes of memory, documents in its life."""

    model_config = ConfigDict(frozen=True)

    memory: int = 1 << 30
    inspect_s: float = 60.0
    extract_s: float = 120.0
    ocr_s: float = 300.0
    cpu_s: int = 10
    documents: int = 500


class _Died(Exception):
    """The reader is gone. `costly`: it ran into a bound, and would again."""

    def __init__(self, costly: bool) -> None:
        self.costly = costly
        super().__init__()


class _Reader:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.served = 0

    @classmethod
    async def start(cls, memory: int) -> _Reader:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "PYTHONPATH": str(Path(diwan.__file__).parent.parent),
            "LC_ALL": "C.UTF-8",
            "MALLOC_ARENA_MAX": "2",
            "OMP_THREAD_LIMIT": "1",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "diwan.documents.reader", str(memory)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # its own group: killed together with a Tesseract it may run
        )
        return cls(process)

    async def ask(self, request: Request, data: bytes, seconds: float) -> bytes:
        """The answer's JSON. Raises _Died; the reader is then to be stopped."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self.served += 1
        try:
            async with asyncio.timeout(seconds):
                stdin.write(frame(request.model_dump_json().encode()))
                stdin.write(data)
                await stdin.drain()
                (length,) = struct.unpack(">I", await stdout.readexactly(4))
                if length > _MAX_ANSWER:
                    raise _Died(costly=True)
                return await stdout.readexactly(length)
        except TimeoutError:
            raise _Died(costly=True) from None
        except (asyncio.IncompleteReadError, ConnectionError, BrokenPipeError):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._process.wait()
            raise _Died(costly=self._process.returncode in (OUT_OF_MEMORY, -signal.SIGXCPU)) from None

    async def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


class Readers:
    """A pool of `size` reader processes, started when first needed (or by `warm`) and replaced when they fail.

    Use as an async context manager, one for each process of the service, on one event loop.
    """

    def __init__(self, *, size: int = 2, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._size = size
        self._slots: asyncio.Queue[_Reader | None] = asyncio.Queue()
        for _ in range(size):
            self._slots.put_nowait(None)

    async def __aenter__(self) -> Self:
        if landlock_version() == 0:
            _log.warning("documents.readers.not_confined")  # SECURITY.md says what that means
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def warm(self) -> None:
        """Start all processes now and wait until each has answered once."""
        request = Request(act="inspect", size=0, cpu_s=self._bounds.cpu_s)
        await asyncio.gather(*(self._ask(request, b"", self._bounds.extract_s) for _ in range(self._size)))

    async def close(self) -> None:
        for _ in range(self._size):
            reader = await self._slots.get()
            if reader is not None:
                await reader.stop()
        for _ in range(self._size):
            self._slots.put_nowait(None)

    async def inspect_document(
        self, name: str, data: bytes, *, declared: str = "", limits: Limits | None = None
    ) -> Inspected:
        """Whether the document is taken. A file that kills or exhausts its reader is quarantined, never raised."""
        limits = limits or Limits()
        if len(data) > limits.max_bytes:
            return quarantined(Reason.TOO_LARGE)
        request = Request(
            act="inspect", size=len(data), cpu_s=self._bounds.cpu_s, name=name, declared=declared, limits=limits
        )
        payload = await self._ask(request, data, self._bounds.inspect_s)
        try:
            return Inspected.model_validate_json(payload or b"")
        except ValidationError:
            return quarantined(Reason.TOO_COSTLY)

    async def extract_document(self, data: bytes, document_id: str, *, with_ocr: bool = True) -> Extraction:
        """Text of an accepted document. Where its reader dies or takes too long: no pages, flag `reading_failed`."""
        request = Request(
            act="extract", size=len(data), cpu_s=4 * self._bounds.cpu_s, document=document_id, with_ocr=with_ocr
        )
        payload = await self._ask(request, data, self._bounds.ocr_s if with_ocr else self._bounds.extract_s)
        try:
            return Extraction.model_validate_json(payload or b"")
        except ValidationError:
            return failed()

    async def _ask(self, request: Request, data: bytes, seconds: float) -> bytes | None:
        """The reader's answer, or None. A reader that died of something else than its bounds is tried again once."""
        for attempt in (1, 2):
            try:
                return await self._ask_once(request, data, seconds)
            except _Died as death:
                _log.warning("documents.reader.died", act=request.act, costly=death.costly, attempt=attempt)
                if death.costly:
                    return None
        return None

    async def _ask_once(self, request: Request, data: bytes, seconds: float) -> bytes:
        reader = await self._slots.get()
        kept: _Reader | None = None
        try:
            if reader is None:
                reader = await _Reader.start(self._bounds.memory)
            payload = await reader.ask(request, data, seconds)
            if reader.served < self._bounds.documents:
                kept = reader
            return payload
        finally:  # also when cancelled: half an answer may be in its pipe, so it cannot be used again
            self._slots.put_nowait(kept)
            if kept is None and reader is not None:
                await reader.stop()
