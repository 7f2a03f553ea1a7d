"""CloudEvents 1.0 as they arrive over HTTP: structured, batch and binary mode, checked and typed.

Sources: the CloudEvents specification 1.0.2, its JSON event format and its HTTP protocol binding. The SDK of
the project (`cloudevents`) fills in a missing id or version, decodes headers leniently and has no batches, so
it does not read events here; tests hold that whatever it writes is understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from pydantic import JsonValue

from diwan.domain.errors import InvalidInput, TooLarge
from diwan.domain.event import FOLLOW_UP_TYPES, OPENING_TYPES, Application, Envelope, FollowUp
from diwan.tracing.context import usable_traceparent
from diwan.web.api.fields import KNOWN, FieldError, InvalidFields, check_model
from diwan.web.api.strict_json import parse_object, split_array, unprintable
from diwan.web.limits import Limits

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"

# `task` is what a person's act is filed under in a case's inbox: no sender may speak in its name.
RESERVED_SOURCES = frozenset({"task"})

_LENGTHS = {"specversion": 8, "id": 200, "source": 300, "type": 120, "subject": 120, "time": 40, "datacontenttype": 120}
_REQUIRED = ("specversion", "id", "source", "type")
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,20}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.-]+\+)?json(?:\s*;\s*charset=\"?utf-8\"?)?", re.IGNORECASE)
_MAX_EXTENSIONS = 20


@dataclass(frozen=True)
class Incoming:
    """One event, checked for form; whether it is plausible for its procedure or case is not yet known."""

    source: str
    id: str
    type: str
    subject: str
    time: datetime | None
    traceparent: str
    data: Application | FollowUp

    def envelope(self, tenant: str) -> Envelope:
        return Envelope(
            tenant=tenant,
            source=self.source,
            id=self.id,
            type=self.type,
            subject=self.subject,
            time=self.time,
            traceparent=self.traceparent,
        )


def from_structured(body: bytes, limits: Limits, *, traceparent: str = "") -> Incoming:
    """An event whose attributes and data are one JSON object. `traceparent` is that of the request."""
    return _incoming(parse_object(body, limits, known=KNOWN), traceparent)


def from_batch(body: bytes, limits: Limits, *, traceparent: str = "") -> list[Incoming | InvalidInput]:
    """Each event of a JSON array, or what is wrong with it. Raises only when there is no array of a fair size."""
    items = split_array(body, limits)
    if len(items) > limits.batch_events:
        raise TooLarge(
            "event.batch_too_long",
            f"A batch holds at most {limits.batch_events} events.",
            "Send several smaller batches.",
        )
    return [_one(item, limits, traceparent) for item in items]


def from_binary(
    headers: Sequence[tuple[str, str]], content_type: str, body: bytes, limits: Limits, *, traceparent: str = ""
) -> Incoming:
    """An event whose attributes are `ce-` headers (names in lower case) and whose data is the body."""
    attributes: dict[str, JsonValue] = {}
    for name, value in headers:
        if not name.startswith("ce-"):
            continue
        attribute = name.removeprefix("ce-")
        if attribute in attributes or attribute in ("data", "data_base64", "datacontenttype"):
            raise InvalidInput(
                "event.header_repeated",
                "A ce- header was sent twice, or stands for the body or its type.",
                "Send each attribute once; the type of the data is the Content-Type.",
            )
        attributes[attribute] = header_value(value)
    if body.strip():
        attributes["datacontenttype"] = content_type
        attributes["data"] = parse_object(body, limits, known=KNOWN)
    return _incoming(attributes, traceparent)


def header_value(value: str) -> str:
    """A header's text: quotes taken off (RFC 9110), then percent-decoded once as UTF-8 (HTTP binding, 3.1.3.2)."""
    if len(value) >= 2 and value.startswith('"') and value.endswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise InvalidInput(
            "event.header_not_utf8", "A ce- header is not percent-encoded UTF-8.", "Percent-encode the UTF-8 bytes."
        ) from None


def _one(item: bytes, limits: Limits, traceparent: str) -> Incoming | InvalidInput:
    try:
        if len(item) > limits.json_bytes:
            raise TooLarge(
                "http.body_too_large",
                f"An event is at most {limits.json_bytes} bytes of JSON.",
                "Send long content as documents.",
            )
        return from_structured(item, limits, traceparent=traceparent)
    except InvalidInput as error:
        return error


def _incoming(event: Mapping[str, JsonValue], traceparent: str) -> Incoming:
    errors = [*_attribute_errors(event), *_extension_errors(event)]
    if errors:
        raise InvalidFields(
            "event.envelope_invalid",
            "The event's attributes are not as CloudEvents 1.0 and this service ask.",
            "Correct the attributes listed under `errors`.",
            errors,
        )
    kind, subject = str(event["type"]), str(event.get("subject") or "")
    _check_type(kind, subject)
    _check_data_present(event)
    model = Application if kind in OPENING_TYPES else FollowUp
    own = event.get("traceparent")
    time, data = event.get("time"), event.get("data")
    return Incoming(
        source=str(event["source"]),
        id=str(event["id"]),
        type=kind,
        subject=subject,
        time=_instant(time) if isinstance(time, str) else None,
        traceparent=usable_traceparent(own) if isinstance(own, str) else usable_traceparent(traceparent),
        data=check_model(model, {} if data is None else data, code="event.data_invalid", under=("data",)),
    )


def _attribute_errors(event: Mapping[str, JsonValue]) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, length in _LENGTHS.items():
        value = event.get(name)
        if value is None:
            if name in _REQUIRED:
                errors.append(FieldError(f"/{name}", "This attribute is required."))
        elif not isinstance(value, str) or not value:
            errors.append(FieldError(f"/{name}", "A text of at least one character is expected."))
        elif len(value) > length:
            errors.append(FieldError(f"/{name}", f"At most {length} characters."))
        elif unprintable(value) or "\n" in value or "\r" in value or "\t" in value:
            errors.append(FieldError(f"/{name}", "Control characters are not taken."))
        elif (wrong := _wrong(name, value)) is not None:
            errors.append(FieldError(f"/{name}", wrong))
    return errors


def _wrong(name: str, value: str) -> str | None:
    if name == "specversion" and value != "1.0":
        return "Only version 1.0 is taken."
    if name == "source" and not _URI_REFERENCE.fullmatch(value):
        return "A URI reference (RFC 3986) is expected, with other characters percent-encoded."
    if name == "source" and value in RESERVED_SOURCES:
        return "This source is the service's own."
    if name == "time" and _instant(value) is None:
        return "A time as in RFC 3339 is expected, with its offset: 2026-11-23T09:30:00Z."
    if name == "datacontenttype" and not _JSON_TYPE.fullmatch(value):
        return "The data of an event is JSON (application/json, UTF-8)."
    return None


def _extension_errors(event: Mapping[str, JsonValue]) -> list[FieldError]:
    names = [name for name in event if name not in _LENGTHS and name not in ("data", "data_base64", "dataschema")]
    if len(names) > _MAX_EXTENSIONS:
        return [FieldError("", f"At most {_MAX_EXTENSIONS} extension attributes.")]
    if any(not _EXTENSION_NAME.fullmatch(name) for name in names):
        return [FieldError("/*", "Names of extension attributes have at most 20 characters of a-z and 0-9.")]
    if any(not isinstance(event[name], str | bool | int) for name in names):
        return [FieldError("/*", "Values of extension attributes are text, whole numbers, true or false.")]
    return []


def _check_type(kind: str, subject: str) -> None:
    if kind not in OPENING_TYPES | FOLLOW_UP_TYPES:
        raise InvalidInput(
            "event.type_unknown",
            "No event of this type is taken here.",
            f"Send one of: {', '.join(sorted(OPENING_TYPES | FOLLOW_UP_TYPES))}.",
        )
    if kind in FOLLOW_UP_TYPES and not subject:
        raise InvalidInput(
            "event.subject_missing",
            "A follow-up event names its case.",
            "Put the case's id or number in the attribute `subject`.",
        )


def _check_data_present(event: Mapping[str, JsonValue]) -> None:
    if "data_base64" in event:
        raise InvalidInput(
            "event.data_base64",
            "Data in base64 is not taken.",
            "Send the data as a JSON object in `data`, and documents as parts of a multipart/form-data request.",
        )
    if event.get("data") is None and event["type"] in OPENING_TYPES:
        raise InvalidInput("event.data_missing", "The event has no data.", "Put the application in `data`.")


def _instant(value: str) -> datetime | None:
    if not _RFC3339.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
