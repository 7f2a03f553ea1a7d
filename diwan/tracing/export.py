"""OpenTelemetry behind spans.py: loaded only where a setting says where spans go (setup.py).

A piece of work is exported as one unit when it ends, with all that it did inside. So whoever is killed in the middle of
it leaves no child without its parent: the whole of it is missing, and the next attempt is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

import diwan
from diwan.tracing import names
from diwan.tracing.collector import FileCollector, HttpCollector
from diwan.tracing.context import span_id_of, trace_id_of
from diwan.tracing.names import Value
from diwan.tracing.otlp import encoded

_KINDS = tuple(SpanKind)
# Spans of one piece of work that wait for its end. More than this are a fault of ours, and are let go.
_INSIDE = 1000

Deliver = Callable[[bytes], None]


class OpenTelemetry:
    """The tracer of a process (`web`, `worker`, …): to a file, to a collector, or both."""

    def __init__(self, process: str, *, file: Path | None, endpoint: str) -> None:
        deliver: list[Deliver] = []
        self._collector = HttpCollector(endpoint) if endpoint else None
        if file is not None:
            deliver.append(FileCollector(file).deliver)
        if self._collector is not None:
            deliver.append(self._collector.deliver)
        resource = Resource({names.SERVICE: f"diwan-{process}", names.VERSION: diwan.__version__})
        provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(Units(deliver))
        self._tracer = provider.get_tracer("diwan", diwan.__version__)

    def begin(self, kind: int, *, parent: str, inner: bool, link: str, began_ns: int) -> _Recording:
        context = Context()
        if parent:
            context = set_span_in_context(NonRecordingSpan(_context(parent, remote=not inner)), context)
        links = [Link(_context(link, remote=True))] if link else []
        span = self._tracer.start_span("begun", context, _KINDS[kind], links=links, start_time=began_ns)
        return _Recording(span)

    def flush(self) -> None:
        if self._collector is not None:
            self._collector.flush()


class _Recording:
    def __init__(self, span: Span) -> None:
        self._span = span
        own = span.get_span_context()
        self.traceparent = f"00-{own.trace_id:032x}-{own.span_id:016x}-01"

    def end(self, name: str, attributes: Mapping[str, Value], *, failed: bool) -> None:
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Units(SpanProcessor):
    """Keeps what ends inside a piece of work until that ends, then hands all of it over, guarded, as one."""

    def __init__(self, deliver: Sequence[Deliver]) -> None:
        self._deliver = deliver
        self._unit_of: dict[int, int] = {}
        self._ended: dict[int, list[ReadableSpan]] = {}
        self._lock = Lock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        own = _id(span.get_span_context())
        with self._lock:
            unit = self._unit_of.get(_parent_here(span), own)
            self._unit_of[own] = unit
            self._ended.setdefault(unit, [])

    def on_end(self, span: ReadableSpan) -> None:
        own = _id(span.get_span_context())
        with self._lock:
            unit = self._unit_of.pop(own, own)
            # Gone already where the work around it ended first: then its parent is out, and it may follow.
            ended = self._ended.pop(unit, []) if unit == own or unit not in self._ended else None
            if ended is None:
                if len(self._ended[unit]) < _INSIDE:
                    self._ended[unit].append(span)
                return
        out = encoded([span, *ended])
        for deliver in self._deliver:
            deliver(out)

    def shutdown(self) -> None:
        return

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def _parent_here(span: Span) -> int:
    """The id of the span around it in this process; 0 where it has none."""
    parent: SpanContext | None = span.parent if isinstance(span, ReadableSpan) else None
    return 0 if parent is None or parent.is_remote else parent.span_id


def _id(context: SpanContext | None) -> int:
    return 0 if context is None else context.span_id


def _context(traceparent: str, *, remote: bool) -> SpanContext:
    return SpanContext(
        int(trace_id_of(traceparent), 16), int(span_id_of(traceparent), 16), remote, TraceFlags(TraceFlags.SAMPLED)
    )
