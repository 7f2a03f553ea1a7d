"""Whatever is asked, the answer is never a failure of ours: addresses, parameters, headers and bodies at random."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diwan.domain.actor import Actor, Role
from diwan.web.openapi import OPEN_PATHS
from tests.support.factories import AUTHORITY, SUPERVISOR, person, sender
from tests.support.strategies import json_of
from tests.web.conftest import Service, an_event
from tests.web.test_web_routes import ROLES

FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

CALLERS: dict[Role, Actor] = {
    Role.INTAKE: sender(),
    Role.SUPERVISOR: SUPERVISOR,
    Role.AUTHORITY: AUTHORITY,
    Role.ANALYST: person("analyst-1", Role.ANALYST),
    Role.OPERATOR: person("operator-1", Role.OPERATOR),
    Role.AUDITOR: person("auditor-1", Role.AUDITOR),
}
OPEN = [(f"GET {path}", Role.AUDITOR) for path in sorted(OPEN_PATHS)]
CALLS = OPEN + [(name, role) for name in sorted(ROLES) for role in CALLERS if role in ROLES[name]]
texts = st.text(max_size=30) | st.sampled_from(
    ["", "..", "a/b", "%00", "\0", "DW-2026-000001", "claim", "edit", "1|x", "2026", "0/000", "0/000.p/1"]
)
values = json_of(st.integers() | st.floats() | st.text(max_size=20), st.text(max_size=8), wide=3, leaves=8)
parameters = st.dictionaries(
    st.sampled_from(["cursor", "limit", "status", "kind", "mine", "case", "procedure", "version", "format"]),
    texts,
    max_size=3,
)
types = st.sampled_from(
    ["application/json", "application/cloudevents+json", "application/yaml", "multipart/form-data; boundary=B", "", "x"]
)


def test_every_route_has_a_caller_here():
    assert {name for name, _ in CALLS} >= set(ROLES)


@FUZZ
@given(st.sampled_from(CALLS), st.lists(texts, min_size=2, max_size=2), parameters, st.data())
async def test_no_address_breaks_the_service(
    service: Service, call: tuple[str, Role], steps: list[str], query: dict[str, str], data: st.DataObject
):
    name, role = call
    method, path = name.split(" ")
    for step in steps:
        start, brace, rest = path.partition("{")
        path = start + quote(step, safe="") + rest.partition("}")[2] if brace else path
    headers = service.as_(CALLERS[role])
    if method == "POST":
        headers |= {"Content-Type": data.draw(types), "Idempotency-Key": data.draw(st.sampled_from(["", "k", "é"]))}
    raw = {key.encode("latin-1"): value.encode("latin-1") for key, value in headers.items()}
    body = json.dumps(data.draw(values)).encode() if method == "POST" else b""
    answer = await service.http.request(method, path, params=query, headers=list(raw.items()), content=body)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.json()["code"]


@FUZZ
@given(
    st.dictionaries(st.sampled_from(["procedure", "reference", "language", "parties", "answers", "documents"]), values)
)
async def test_no_application_breaks_the_service(service: Service, data: dict[str, Any]):
    answer = await service.send(an_event(data=data))
    assert answer.status_code < 500, answer.text


@FUZZ
@given(st.dictionaries(st.sampled_from(["id", "source", "type", "subject", "time", "traceparent", "data"]), values))
async def test_no_envelope_breaks_the_service(service: Service, attributes: dict[str, Any]):
    answer = await service.send(json.dumps(an_event() | attributes).encode())
    assert answer.status_code < 500, answer.text


@FUZZ
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "identity_number": texts,
            "household": st.integers() | st.floats(),
            "price": st.integers() | st.floats(),
            "permit_date": texts | st.dates().map(str),
            "bank_account": texts,
            "notary": texts,
        },
    )
)
async def test_no_answers_break_the_service(service: Service, answers: dict[str, Any]):
    event = an_event()
    event["data"]["answers"] = event["data"]["answers"] | answers
    answer = await service.send(json.dumps(event).encode())
    assert answer.status_code < 500, answer.text
