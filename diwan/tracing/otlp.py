"""A unit of spans as OTLP's JSON (opentelemetry-proto, trace/v1, JSON mapping: ids in hexadecimal, int64 as text).

What leaves the process is made here and nowhere else: names and attributes pass `names.admitted`, and events, statuses'
texts and exceptions have no place in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode

from diwan.tracing.names import Value, admitted, span_name

# Span flags of the protocol: sampled; whether it is known that the parent is remote, and that it is.
_SAMPLED, _KNOWN, _REMOTE = 0x1, 0x100, 0x200


def encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """One ResourceSpans: a unit. All of `spans` are of one process; there is at least one."""
    scope = spans[0].instrumentation_scope
    made = {
        "resource": {"attributes": _attributes(spans[0].resource.attributes)},
        "scopeSpans": [
            {
                "scope": {"name": scope.name, "version": scope.version or ""} if scope else {},
                "spans": [_span(span) for span in spans],
            }
        ],
    }
    return orjson.dumps(made)


def request(units: Sequence[bytes]) -> bytes:
    """Units as one ExportTraceServiceRequest."""
    return b'{"resourceSpans":[' + b",".join(units) + b"]}"


def _span(span: ReadableSpan) -> dict[str, Any]:
    made: dict[str, Any] = {
        **_ids(span.get_span_context()),
        "flags": _SAMPLED | _KNOWN | (_REMOTE if span.parent is not None and span.parent.is_remote else 0),
        "name": span_name(span.name),
        "kind": span.kind.value + 1,
        "startTimeUnixNano": str(span.start_time or 0),
        "endTimeUnixNano": str(span.end_time or 0),
        "attributes": _attributes(span.attributes or {}),
        "links": [{**_ids(link.context), "attributes": []} for link in span.links],
        "status": {"code": 2} if span.status.status_code is StatusCode.ERROR else {},
    }
    if span.parent is not None:
        made["parentSpanId"] = f"{span.parent.span_id:016x}"
    return made


def _ids(context: SpanContext | None) -> dict[str, str]:
    return {} if context is None else {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}


def _attributes(attributes: Mapping[str, object]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in admitted(attributes).items()]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
