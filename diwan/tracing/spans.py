"""What the service calls to be traced. Without a tracer each of these does next to nothing, and imports nothing.

The tree of a case: its root is a span that ends before the case is committed (`case_opened`); every piece of work done
for the case afterwards, in whichever process and however late, hangs under that root, whose context is kept in the
case's row. So a span never waits for its parent to end, and no parent can be lost with a process that is killed: what a
piece of work does inside is exported with it, all or nothing (export.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Protocol, Self

from structlog.contextvars import bind_contextvars, unbind_contextvars

from diwan.domain.errors import DiwanError
from diwan.tracing import names
from diwan.tracing.context import span_id_of, trace_id_of
from diwan.tracing.names import Value

# As OpenTelemetry's SpanKind.
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(5)


class Recording(Protocol):
    """A span that has begun."""

    @property
    def traceparent(self) -> str: ...

    def end(self, name: str, attributes: Mapping[str, Value], *, failed: bool) -> None: ...


class Tracer(Protocol):
    """Makes spans. `parent` is a context, or empty for a tree of its own; `inner`: part of work of this process."""

    def begin(self, kind: int, *, parent: str, inner: bool, link: str, began_ns: int) -> Recording: ...

    def flush(self) -> None: ...


_tracer: Tracer | None = None
_current: ContextVar[Work | None] = ContextVar("diwan_work", default=None)


class Work:
    """One piece of work that becomes a span: a context manager; `say` tells more about it.

    Its span begins once its place in the tree is known: at once, or for a request (`late`) when the case is known that
    it is about. What fails is marked with the error's machine name; no message is ever recorded.
    """

    __slots__ = (
        "_attributes",
        "_began",
        "_dropped",
        "_kind",
        "_late",
        "_of",
        "_recording",
        "_sender",
        "_token",
        "name",
    )

    def __init__(self, name: str, kind: int, attributes: Mapping[str, Value], *, of: str, sender: str, late: bool):
        self.name = name
        self._kind = kind
        self._attributes = dict(attributes)
        self._of = of
        self._sender = sender
        self._late = late
        self._dropped = False
        self._began = 0
        self._recording: Recording | None = None
        self._token: Token[Work | None] | None = None

    def __enter__(self) -> Self:
        self._began = time.time_ns()
        around = _current.get()
        self._token = _current.set(self)
        if not self._late:
            inner = not self._of and around is not None
            self._begin(around.context() if inner and around else self._of, inner=inner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._attributes[names.ERROR] = code_of(error)
        if not self._dropped:
            self.context()
        if self._recording is not None:
            self._recording.end(self.name, self._attributes, failed=names.ERROR in self._attributes)
        if self._token is not None:
            _current.reset(self._token)
        around = _current.get()
        if self._recording is not None:
            _bind(around.context() if around is not None and around.placed else "")

    @property
    def placed(self) -> bool:
        return self._recording is not None

    @property
    def began_ns(self) -> int:
        return self._began

    @property
    def sender(self) -> str:
        return self._sender

    def say(self, attributes: Mapping[str, Value]) -> None:
        """More attributes, of names.py."""
        self._attributes.update(attributes)

    def sent_by(self, traceparent: str) -> None:
        """The context that came with what was sent: linked to, or the parent where no case has a tree for it."""
        self._sender = traceparent or self._sender

    def drop(self) -> None:
        """Nobody wants to see this one: it leaves no span, unless it has begun one."""
        self._dropped = True

    def place(self, of: str) -> None:
        """It belongs into the tree of this context. Only the first place counts."""
        if self._recording is None and of:
            self._begin(of, inner=False)

    def context(self) -> str:
        """Its own context, for what it does inside or passes on. What no case claimed is a tree of its own."""
        if self._recording is None:
            self._begin(self._sender, inner=False)
        return self._recording.traceparent if self._recording is not None else ""

    def _begin(self, parent: str, *, inner: bool) -> None:
        if _tracer is None:
            return
        link = self._sender if self._sender != parent else ""
        self._recording = _tracer.begin(self._kind, parent=parent, inner=inner, link=link, began_ns=self._began)
        _bind(self._recording.traceparent)


class _Untraced(Work):
    """Work while nobody traces."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def say(self, attributes: Mapping[str, Value]) -> None:
        return


_UNTRACED = _Untraced("", INTERNAL, {}, of="", sender="", late=True)


def use(tracer: Tracer | None) -> None:
    """From now on spans go to `tracer`; None: nowhere."""
    global _tracer
    _tracer = tracer


def flush() -> None:
    """Hand over what has ended, before the process does; waits a few seconds at most."""
    if _tracer is not None:
        _tracer.flush()


def on() -> bool:
    return _tracer is not None


def span(name: str, kind: int = INTERNAL, attributes: Mapping[str, Value] | None = None, *, of: str = "") -> Work:
    """Work in the tree of `of`, a case's context; without one inside the work around it, else in a tree of its own."""
    if _tracer is None:
        return _UNTRACED
    return Work(name, kind, attributes or {}, of=of, sender="", late=False)


def request(name: str, kind: int = SERVER, *, sender: str = "") -> Work:
    """Work that was asked for from outside: in the tree of the case that it turns out to be about, else of its sender.

    `sender` is the context that came with it.
    """
    return Work(name, kind, {}, of="", sender=sender, late=True)


def current() -> Work:
    """The work that is being done."""
    return _current.get() or _UNTRACED


def traceparent() -> str:
    """The context to pass on to whom this work calls; empty while nobody traces."""
    return "" if _tracer is None or (work := _current.get()) is None else work.context()


def trace_id() -> str:
    """The trace of the work that is being done, where it has one already; for the ledger."""
    work = _current.get()
    return trace_id_of(work.context()) if work is not None and work.placed else ""


def concerns(tenant: str, case: str, of: str) -> None:
    """The request that is being answered is about this case, whose context is `of`: spans and log lines say so."""
    work = _current.get()
    if work is None or work.placed:
        return
    bind_contextvars(tenant=tenant, case=case)
    work.say({names.TENANT: tenant, names.CASE: case})
    work.place(of)


def case_opened(tenant: str, case: str) -> str:
    """Ends the root of a case's tree, before the case is committed, and gives the context to keep in its row.

    Under the context that its sender gave, if any. While nobody traces it is the sender's own, to be passed on.
    """
    work = _current.get()
    sender = work.sender if work is not None else ""
    if _tracer is None:
        return sender
    began = work.began_ns if work is not None else time.time_ns()
    root = _tracer.begin(INTERNAL, parent=sender, inner=False, link="", began_ns=began)
    root.end("case.opened", {names.TENANT: tenant, names.CASE: case}, failed=False)
    return root.traceparent


def code_of(error: BaseException) -> str:
    """The machine name of a failure: ours by its code, others by their type; never what it says."""
    if isinstance(error, DiwanError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__


def _bind(own: str) -> None:
    """The log lines of this task name the span. Not by tokens: a request's place may be found in a task of its own."""
    if own:
        bind_contextvars(trace_id=trace_id_of(own), span_id=span_id_of(own))
    else:
        unbind_contextvars("trace_id", "span_id")
