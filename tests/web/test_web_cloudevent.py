"""Events as they arrive: the three modes give the same event, and whatever is wrong is named, never echoed."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput
from diwan.domain.event import Application, FollowUp
from diwan.web.api.cloudevent import Incoming, from_batch, from_binary, from_structured, header_value
from diwan.web.api.fields import InvalidFields
from diwan.web.limits import Limits
from tests.support.strategies import json_of

LIMITS = Limits()
SECRET = "Zoubida-4711"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

DATA: dict[str, Any] = {
    "procedure": "direct-housing-aid",
    "reference": "P-1",
    "language": "ar",
    "parties": [{"role": "applicant", "name": "زبيدة بنعلي", "language": "ar"}],
    "answers": {"price": 250000},
    "documents": [{"name": "promesse.pdf", "piece": "promise", "part": "doc1"}],
}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "urn:example:portal",
    "type": "diwan.application.submitted",
    "time": "2026-11-23T09:30:00+01:00",
    "data": DATA,
}


def event(**changes: object) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


def without(*names: str) -> bytes:
    return json.dumps({name: value for name, value in EVENT.items() if name not in names}).encode()


def test_a_structured_event_is_read():
    read = from_structured(event(traceparent=TRACE), LIMITS)
    assert isinstance(read.data, Application)
    assert read.data.parties[0].name == "زبيدة بنعلي"
    envelope = read.envelope("demo")
    assert (envelope.tenant, envelope.source, envelope.id) == ("demo", "urn:example:portal", "e-1")
    assert envelope.time == datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
    assert envelope.traceparent == TRACE


def test_a_follow_up_may_have_no_data():
    read = from_structured(
        json.dumps(
            {**EVENT, "type": "diwan.application.withdrawn", "subject": "DW-2026-000001", "data": None}
        ).encode(),
        LIMITS,
    )
    assert isinstance(read.data, FollowUp)
    assert read.subject == "DW-2026-000001"


def test_whatever_the_sdk_writes_is_understood_alike_in_both_modes():
    sdk = CloudEvent(
        {
            "id": 'odd "id" 100% é',
            "source": "urn:example:portal",
            "type": "diwan.pieces.supplied",
            "subject": "DW-2026-000001",
            "time": datetime(2026, 11, 23, 8, 30, tzinfo=UTC),
            "datacontenttype": "application/json",
        },
        {"note": "مرفق", "documents": []},
    )
    binary, structured = to_binary_event(sdk), to_structured_event(sdk)
    headers = [(name.lower(), value) for name, value in binary.headers.items()]
    read = from_binary(headers, binary.headers["content-type"], binary.body, LIMITS)
    assert read == from_structured(structured.body, LIMITS)
    assert read.id == 'odd "id" 100% é'
    assert read.data == FollowUp(note="مرفق")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_header_values_come_back_as_the_sdk_encodes_them(value: str):
    message = to_binary_event(CloudEvent({"id": "1", "source": "/s", "type": "t", "subject": value or "x"}, None))
    assert header_value(message.headers["ce-subject"]) == (value or "x")


def test_a_quoted_header_is_unquoted_before_it_is_decoded():
    assert header_value('"a \\"b\\" %D9%85"') == 'a "b" م'


@pytest.mark.parametrize("value", ["%FF", "\xff\xfe", "%D9", "م"])
def test_a_header_that_is_not_utf8_is_refused(value: str):
    with pytest.raises(InvalidInput, match="UTF-8"):
        header_value(value)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (without("id"), "/id"),
        (without("source"), "/source"),
        (without("type"), "/type"),
        (without("specversion"), "/specversion"),
        (event(specversion="0.3"), "/specversion"),
        (event(id=""), "/id"),
        (event(id=7), "/id"),
        (event(id="x" * 201), "/id"),
        (event(id=f"{SECRET}\n"), "/id"),
        (event(source="with space"), "/source"),
        (event(source="%zz"), "/source"),
        (event(source="مصدر"), "/source"),
        (event(source="task"), "/source"),
        (event(subject=""), "/subject"),
        (event(time="yesterday"), "/time"),
        (event(time="2026-11-23T09:30:00"), "/time"),
        (event(time="0001-01-01T00:00:00+23:00"), "/time"),
        (event(time="2026-13-23T09:30:00Z"), "/time"),
        (event(datacontenttype="text/xml"), "/datacontenttype"),
        (event(**{SECRET: "x"}), "/*"),
        (event(ext={"a": 1}), "/*"),
        (event(**{f"x{n}": 1 for n in range(30)}), ""),
        (event(data=None, type="diwan.application.submitted", id=None), "/id"),
        (event(data={**DATA, "parties": []}), "/data/parties"),
        (event(data={**DATA, "parties": [{"role": "king", "name": SECRET}]}), "/data/parties/0/role"),
        (event(data={**DATA, SECRET: 1}), "/data/*"),
        (event(data={**DATA, "language": "de"}), "/data/language"),
        (event(data={**DATA, "answers": [SECRET]}), "/data/answers"),
        (event(data={**DATA, "documents": [{"name": "a", "url": "http://x"}]}), "/data/documents/0/*"),
        (event(data={**DATA, "documents": [{"name": "a"}] * 51}), "/data/documents"),
        (event(data=[SECRET]), "/data"),
        (event(data=""), "/data"),
    ],
)
def test_each_wrong_field_is_named(body: bytes, pointer: str):
    with pytest.raises(InvalidFields) as caught:
        from_structured(body, LIMITS)
    assert pointer in [field.pointer for field in caught.value.fields]
    assert SECRET not in str(caught.value)
    assert all(SECRET not in f"{field.pointer}{field.detail}" for field in caught.value.fields)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (event(type=f"com.example.{SECRET}"), "event.type_unknown"),
        (event(type="diwan.task.completed"), "event.type_unknown"),
        (event(type="diwan.pieces.supplied"), "event.subject_missing"),
        (event(data_base64="AAAA"), "event.data_base64"),
        (without("data"), "event.data_missing"),
        (b"[]", "json.not_an_object"),
        (b"null", "json.not_an_object"),
    ],
)
def test_an_event_that_is_none_of_ours_is_refused(body: bytes, code: str):
    with pytest.raises(InvalidInput) as caught:
        from_structured(body, LIMITS)
    assert caught.value.code == code
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        [("ce-id", "1"), ("ce-id", "2")],
        [("ce-data", "{}")],
        [("ce-datacontenttype", "application/json")],
    ],
)
def test_a_binary_header_that_is_ambiguous_is_refused(headers: list[tuple[str, str]]):
    with pytest.raises(InvalidInput) as caught:
        from_binary(headers, "application/json", b"{}", LIMITS)
    assert caught.value.code == "event.header_repeated"


def test_a_bad_item_in_the_middle_of_a_batch_stands_alone():
    read = from_batch(b"[" + event() + b"," + b'{"id": NaN},' + event(id="e-2") + b"]", LIMITS)
    assert [type(item) is Incoming for item in read] == [True, False, True]
    assert isinstance(read[1], InvalidInput)
    assert read[1].code == "json.not_a_number"


def test_a_batch_has_a_bounded_number_of_events():
    with pytest.raises(InvalidInput) as caught:
        from_batch(b"[" + b",".join([b"{}"] * 101) + b"]", LIMITS)
    assert caught.value.code == "event.batch_too_long"


@pytest.mark.parametrize(
    ("value", "kept"),
    [(TRACE, TRACE), ("00-" + "0" * 32 + "-b7ad6b7169203331-01", ""), ("nonsense", ""), (TRACE + "\n", "")],
)
def test_only_a_sound_trace_context_is_taken_up(value: str, kept: str):
    assert from_structured(event(), LIMITS, traceparent=value).traceparent == kept


json_values = json_of(st.integers() | st.floats() | st.text(max_size=30), st.text(max_size=10))
mutations = st.dictionaries(st.sampled_from([*EVENT, *DATA, "subject", "traceparent", "x"]), json_values, max_size=3)


@given(mutations, mutations, st.sampled_from(["diwan.application.submitted", "diwan.pieces.supplied", "other"]))
def test_any_event_is_either_read_or_refused_with_a_remedy(
    attributes: dict[str, object], data: dict[str, object], kind: str
):
    body = json.dumps({**EVENT, "type": kind, "data": {**DATA, **data}, **attributes}).encode()
    refusal = None
    try:
        assert from_structured(body, LIMITS).id
    except InvalidInput as error:
        refusal = error
    assert refusal is None or refusal.remedy
