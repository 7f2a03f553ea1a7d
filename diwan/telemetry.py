"""Logs: one JSON object a line on standard error, static event names, never a value that an applicant wrote.

Our own code logs through structlog. Libraries log through `logging`, where messages and exceptions may repeat
what they were given, so of those only the logger's name, the unfilled message of the loggers named here, and the
exceptions' types and places are kept.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from diwan.domain.errors import DiwanError

# Loggers whose unfilled messages are constants; what others say may be made of data.
_CONSTANT = ("uvicorn.error", "temporalio", "alembic")
_FRAMES = 12


def configure(process: str, *, level: str = "info") -> None:
    """Send the logs of this process (`web`, `worker`, …) to standard error. Call once, first."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _failure,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _named(process), _render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # paths and queries may name people
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught


def _named(process: str) -> Any:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=lambda value: type(value).__name__).decode()


def _foreign(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A library's record: its constant message where we know it is one, else only that it spoke."""
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    constant = any(record.name == name or record.name.startswith(name + ".") for name in _CONSTANT)
    said = str(record.msg) if constant else ""
    event["event"] = "library.logged"
    if said:
        event["said"] = said.split(" ({", 1)[0].strip()
    event["exc_info"] = record.exc_info
    return event


def _failure(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put type and place of an exception where its text would be; our own errors also say their code."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    if isinstance(found, BaseException):
        found = (type(found), found, found.__traceback__)
    if not found or found[1] is None:
        return event
    event["error"] = describe(found[1])
    return event


def describe(error: BaseException) -> dict[str, Any]:
    """Type, code and places of an exception and of its causes; no text that may repeat data."""
    described: dict[str, Any] = {"type": type(error).__qualname__, "frames": _frames(error.__traceback__)}
    if isinstance(error, DiwanError):
        described["code"] = error.code
    if isinstance(error, ImportError) and error.name:
        described["module"] = error.name
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = describe(cause)
    return described


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{Path(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames[-_FRAMES:]


def _uncaught(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        return
    structlog.get_logger().error("process.failed", exc_info=error)
