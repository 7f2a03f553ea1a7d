"""W3C trace context as text, `00-<trace id>-<span id>-<flags>`: identifiers without meaning."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def usable_traceparent(value: str) -> str:
    """A trace context to go on from, or nothing: a bad one is ignored, as the standard asks."""
    return value if _TRACEPARENT.fullmatch(value) else ""


def trace_id_of(traceparent: str) -> str:
    """32 hexadecimal digits; empty where there is no context."""
    return traceparent[3:35]


def span_id_of(traceparent: str) -> str:
    """16 hexadecimal digits; empty where there is no context."""
    return traceparent[36:52]
