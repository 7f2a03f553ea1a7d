"""Intake over HTTP: exactly once, whatever the mode; what is bad is refused or put aside and never blocks the next."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
import structlog

from diwan.domain.actor import Role
from tests.support.factories import CLERK, SOURCE, person, sender
from tests.web.conftest import PDF, Service, an_event, doc

SECRET = "Zoubida-4711"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_an_application_opens_a_case_and_tells_where_it_is(service: Service):
    event = an_event(data={"documents": [doc("a", piece="promise_of_sale")]})
    answer = await service.send(event, {"a": PDF})
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert accepted["number"].startswith("DW-2026-")
    assert answer.headers["location"] == accepted["address"] == f"/v1/cases/{accepted['case']}"
    assert accepted["receipt"] == f"{accepted['address']}/receipt"
    assert [each["status"] for each in accepted["documents"]] == ["accepted"]
    case = (await service.get(accepted["address"], CLERK)).json()
    assert case["parties"][0]["name"] == "Zineb Exemplaire"
    assert case["documents"][0]["name"] == "promesse.pdf"
    assert case["number"] == accepted["number"]


async def test_the_same_event_again_gets_the_same_answer(service: Service):
    event = an_event(data={"documents": [doc("a"), doc("b", "virus.pdf")]})
    parts = {"a": PDF, "b": b"MZ\x90\x00" + b"\0" * 100}
    first = await service.send(event, parts)
    again = await service.send(event, parts)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.json()["documents"][1]["status"] == "quarantined"


async def test_a_hundred_of_the_same_event_at_once_make_one_case(service: Service):
    event = an_event(data={"documents": [doc("a")]})
    answers = await asyncio.gather(*(service.send(event, {"a": PDF}) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    reference = event["data"]["reference"]
    assert service.count("case_file", reference=reference) == 1
    assert service.count("inbox", event_id=event["id"]) == 1


async def test_the_same_id_with_another_body_is_a_conflict_on_record(service: Service):
    event = an_event()
    await service.send(event)
    before = service.count("entry", kind="event:event:refused")
    other = an_event(event["data"]["reference"], data={"language": "ar"})
    answer = await service.send(other)
    assert (answer.status_code, answer.json()["code"]) == (409, "event.id_used")
    assert service.count("entry", kind="event:event:refused") == before + 1


async def test_a_follow_up_finds_its_case_by_number(service: Service):
    number = (await service.send(an_event())).json()["number"]
    follow_up = an_event(type="diwan.pieces.supplied", subject=number)
    follow_up["data"] = {"note": "Voici la pièce.", "documents": [doc("a")]}
    answer = await service.send(follow_up, {"a": PDF})
    assert answer.status_code == 202, answer.text
    assert (answer.json()["number"], answer.json()["inbox_seq"]) == (number, 2)


async def test_a_follow_up_that_matches_no_case_goes_to_a_clerk(service: Service):
    event = an_event(type="diwan.application.withdrawn", subject="DW-1999-000001", data={})
    event["data"] = {}
    answer = await service.send(event)
    assert answer.status_code == 202, answer.text
    assert answer.json()["case"] is None
    assert "location" not in answer.headers
    tasks = (await service.get("/v1/tasks?kind=stray_event", CLERK)).json()["items"]
    assert len(tasks) == 1


async def test_binary_mode(service: Service):
    event = an_event()
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "caf%C3%A9-" + event["data"]["reference"],
        "ce-source": SOURCE,
        "ce-type": event["type"],
        "traceparent": TRACE,
        "Content-Type": "application/json",
    }
    answer = await service.post("/v1/events", sender(), content=json.dumps(event["data"]), headers=headers)
    assert answer.status_code == 202, answer.text
    assert service.count("inbox", event_id=f"café-{event['data']['reference']}", traceparent=TRACE) == 1


async def batch(service: Service, items: list[bytes]) -> Any:
    return await service.post(
        "/v1/events",
        sender(),
        content=b"[" + b",".join(items) + b"]",
        headers={"Content-Type": "application/cloudevents-batch+json"},
    )


async def test_a_bad_event_in_a_batch_never_blocks_the_next(service: Service):
    good = [json.dumps(an_event()).encode() for _ in range(2)]
    bad = [b'{"a": NaN}', b"[" * 1000 + b"]" * 1000, json.dumps(an_event(source="urn:not:mine")).encode()]
    answer = await batch(service, [good[0], *bad, good[1]])
    assert answer.status_code == 207
    assert [each["status"] for each in answer.json()] == [202, 400, 422, 403, 202]
    assert all(each["remedy"] for each in answer.json()[1:4])
    again = await batch(service, good)
    assert (again.status_code, [each["case"] for each in again.json()]) == (
        202,
        [answer.json()[0]["case"], answer.json()[4]["case"]],
    )
    empty = await batch(service, [])
    assert (empty.status_code, empty.json()) == (202, [])


def with_data(**data: Any) -> bytes:
    return json.dumps(an_event(data=data)).encode()


def raw(text: str) -> bytes:
    """An event whose note is this JSON text."""
    return (
        json.dumps(an_event(type="diwan.pieces.supplied", subject="x") | {"data": {"note": "@"}})
        .encode()
        .replace(b'"@"', text.encode("utf-8", "surrogatepass"))
    )


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "no json": (b"hello " + SECRET.encode(), 400, "json.malformed"),
    "empty": (b"", 400, "json.malformed"),
    "an array": (b"[]", 422, "json.not_an_object"),
    "a 3 MB field": (with_data(reference="x" * 3_000_000), 413, "http.body_too_large"),
    "a 100 kB field": (with_data(reference="x" * 100_000), 422, "json.text_too_long"),
    "deep": (raw("[" * 50_000 + "]" * 50_000), 422, "json.too_deep"),
    "unclosed and deep": (b'{"a":' * 30_000, 422, "json.too_deep"),
    "the same key twice": (raw('"a", "note": "b"'), 400, "json.duplicate_key"),
    "a NUL byte": (b'{"id": "\x00"}', 400, "json.malformed"),
    "an escaped NUL": (raw('"a\\u0000"'), 422, "json.unprintable"),
    "NaN": (raw("NaN"), 400, "json.not_a_number"),
    "a huge number": (raw("1" + "0" * 400), 422, "json.number_out_of_range"),
    "a huge exponent": (raw("1e999"), 422, "json.number_out_of_range"),
    "not UTF-8": (raw('"@"').replace(b"@", b"\xff\xfe"), 400, "json.not_utf8"),
    "half a character": (raw('"\\ud800"'), 422, "json.unprintable"),
    "another type": (json.dumps(an_event(type=f"com.example.{SECRET}")).encode(), 422, "event.type_unknown"),
    "a foreign source": (json.dumps(an_event(source="urn:not:mine")).encode(), 403, "event.source_not_bound"),
    "the service's own source": (json.dumps(an_event(source="task")).encode(), 422, "event.envelope_invalid"),
    "an unknown procedure": (with_data(procedure=f"p-{SECRET}"), 422, "event.procedure_unknown"),
    "no answers": (with_data(answers={}), 422, "event.answers_invalid"),
    "an answer that is not asked": (with_data(answers={SECRET: 1}), 422, "event.answers_invalid"),
    "an answer of another type": (with_data(answers={"price": SECRET}), 422, "event.answers_invalid"),
    "no applicant": (with_data(parties=[{"role": "heir", "name": SECRET}]), 422, "event.data_invalid"),
    "a name over two lines": (
        with_data(parties=[{"role": "applicant", "name": f"{SECRET}\nGRANTED"}]),
        422,
        "event.data_invalid",
    ),
    "too many documents": (with_data(documents=[doc(f"d{n}") for n in range(51)]), 422, "event.data_invalid"),
    "a part that did not come": (with_data(documents=[doc("a")]), 422, "event.documents_differ"),
    "part and ref": (with_data(documents=[doc("a", ref="b")]), 422, "event.documents_differ"),
    "neither part nor ref": (with_data(documents=[{"name": "a"}]), 422, "event.documents_differ"),
    "an unknown upload": (with_data(documents=[{"name": "a", "ref": SECRET}]), 422, "document.not_staged"),
    "an address to fetch": (with_data(documents=[{"name": "a", "url": "http://x"}]), 422, "event.data_invalid"),
}


@pytest.mark.parametrize(("body", "status", "code"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_input_is_refused_with_a_reason_and_blocks_nothing(
    service: Service, body: bytes, status: int, code: str
):
    with structlog.testing.capture_logs() as logs:
        answer = await service.send(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["remedy"]
    assert SECRET not in answer.text
    assert SECRET not in repr(logs)
    assert (await service.send(an_event())).status_code == 202


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/json"}, 415, "event.media_type"),
        ({"Content-Type": "text/xml"}, 415, "event.media_type"),
        ({"Content-Type": "application/cloudevents+avro"}, 415, "event.media_type"),
        ({"Content-Type": "application/cloudevents+json; charset=utf-16"}, 415, "http.charset"),
        ({"Content-Type": "multipart/form-data"}, 400, "http.multipart_malformed"),
        ({"Content-Type": "text/xml", "ce-specversion": "1.0"}, 415, "event.media_type"),
        ({"Content-Type": "application/json", "ce-specversion": "1.0"}, 422, "event.envelope_invalid"),
        (
            {"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "%FF"},
            422,
            "event.header_not_utf8",
        ),
    ],
)
async def test_a_mode_that_is_not_taken_is_refused(service: Service, headers: dict[str, str], status: int, code: str):
    answer = await service.post("/v1/events", sender(), content=json.dumps(an_event()), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_compressed_body_is_refused_unopened(service: Service):
    bomb = gzip.compress(b"0" * 50_000_000)
    headers = {"Content-Type": "application/cloudevents+json", "Content-Encoding": "gzip"}
    answer = await service.post("/v1/events", sender(), content=bomb, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "http.content_encoding")


async def test_an_event_that_was_taken_is_answered_after_its_form_has_changed(service: Service):
    event = an_event()
    first = await service.send(event)
    with service.database.superuser() as connection:
        connection.execute(
            "INSERT INTO procedure_version SELECT tenant, name, '99', "
            "encode(sha256(convert_to(other, 'UTF8')), 'hex'), other, "
            "published_at + interval '1 second', published_by FROM procedure_version, "
            "replace(replace(body, 'version: \"1.2\"', 'version: \"99\"'), 'maximum: 1000000000', 'maximum: 5') other "
            "WHERE version = '1.2'"
        )
    try:
        refused = await service.send(an_event())
        again = await service.send(event)
    finally:
        with service.database.superuser() as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("DELETE FROM procedure_version WHERE version = '99'")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/data/answers/price")
    assert (again.status_code, again.json()) == (202, first.json())


async def test_a_foreign_source_learns_nothing_of_the_form(service: Service):
    answer = await service.send(
        an_event(source="urn:not:mine", data={"answers": {}, "documents": [doc("a")]}), {"a": PDF}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "event.source_not_bound")


async def test_only_a_sender_sends(service: Service):
    for actor in (CLERK, person("a", Role.ANALYST), person("b", Role.OPERATOR)):
        assert (await service.send(an_event(), actor=actor)).status_code == 403


@pytest.mark.parametrize(
    ("number", "status"), [("", 202), ("zz100001", 202), ("ZZ-100 001", 202), ("ZZ ١٠٠٠٠١", 202), ("ZZ100002", 422)]
)
async def test_the_applicants_number_is_that_of_the_answers(service: Service, number: str, status: int):
    people = [
        {"role": "representative", "name": "Rachid Modèle", "identity_number": "ZZ999999"},
        {"role": "applicant", "name": "Zineb Exemplaire", "identity_number": number},
    ]
    answer = await service.send(an_event(data={"parties": people}))
    assert answer.status_code == status, answer.text
    if status == 422:
        problem = answer.json()
        assert problem["code"] == "event.data_invalid"
        assert [each["pointer"] for each in problem["errors"]] == ["/data/parties/1/identity_number"]
        assert problem["remedy"]
        assert number not in answer.text
