"""Procedures over HTTP: published by analysts, read by all, described as JSON Schema."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from diwan.domain.actor import Role
from diwan.procedures.examples import example_text
from tests.support.factories import CLERK, PROCEDURE, person
from tests.web.conftest import ANSWERS, Service

ANALYST = person("analyst-1", Role.ANALYST)
YAML = {"Content-Type": "application/yaml"}


def text(version: str) -> str:
    return example_text(PROCEDURE).replace('version: "1.2"', f'version: "{version}"')


def decides_twice(version: str) -> str:
    """It loads; a case that was decided is reviewed and signed again."""
    review = "      - {on: approved, to: sign}\n"
    changed = text(version).replace("- {to: closed}", "- {to: review}")
    return changed.replace(review, review + "      - {on: rejected, to: closed, result: refused}\n")


async def test_the_schema_takes_the_answers_of_an_application(service: Service):
    answer = await service.get(f"/v1/procedures/{PROCEDURE}/schema", CLERK)
    assert answer.headers["content-type"] == "application/schema+json"
    Draft202012Validator(answer.json()).validate(ANSWERS)


async def test_a_procedure_is_read_as_published(service: Service):
    view = (await service.get(f"/v1/procedures/{PROCEDURE}", CLERK)).json()
    assert (view["version"], view["body"]) == ("1.2", example_text(PROCEDURE))


async def test_a_new_version_is_published_once(service: Service):
    first = await service.post("/v1/procedures", ANALYST, content=text("2.0"), headers=YAML)
    assert first.status_code == 201, first.text
    assert first.headers["location"] == f"/v1/procedures/{PROCEDURE}?version=2.0"
    service.clock.pass_(seconds=1)
    again = await service.post("/v1/procedures", ANALYST, content=text("2.0"), headers=YAML)
    assert (again.status_code, again.json()) == (200, first.json())
    listed = (await service.get("/v1/procedures", CLERK)).json()["items"]
    assert [(each["name"], each["version"]) for each in listed] == [(PROCEDURE, "2.0"), (PROCEDURE, "1.2")]
    old = await service.get(f"/v1/procedures/{PROCEDURE}?version=1.2", CLERK)
    assert old.json()["body"] == example_text(PROCEDURE)


async def test_another_text_under_a_version_is_a_conflict_on_record(service: Service):
    changed = example_text(PROCEDURE).replace("maximum: 30", "maximum: 31")
    answer = await service.post("/v1/procedures", ANALYST, content=changed, headers=YAML)
    assert (answer.status_code, answer.json()["code"]) == (409, "procedure.version_differs")
    assert service.count("entry", chain="refusals/analyst-1", kind="api:request:refused") == 1


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"a: [", YAML, 422, None),
        (b"", YAML, 422, None),
        (b"[]", YAML, 422, None),
        (b"name: x", YAML, 422, "procedure.invalid"),
        (decides_twice("3.0").encode(), YAML, 422, "procedure.invalid"),
        (b"\xff\xfe", YAML, 422, "procedure.not_utf8"),
        (b"a: \x00", YAML, 422, "procedure.unprintable"),
        (b"a: &a [*a, *a]", YAML, 422, None),
        (b"x" * 300_000, YAML, 413, None),
        (b"{}", {"Content-Type": "application/json"}, 415, "http.media_type"),
    ],
)
async def test_a_file_that_is_no_procedure_is_refused(
    service: Service, content: bytes, headers: dict[str, str], status: int, code: str | None
):
    answer = await service.post("/v1/procedures", ANALYST, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["code"] == code
    assert answer.json()["detail"]


async def test_what_was_published_before_lint_refused_it_is_still_what_it_was(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    """The same text again is no new version; its cases go on, and are told where they stand still."""
    twice = decides_twice("3.1")
    with monkeypatch.context() as before:
        before.setattr("diwan.store.procedures.refuse_unpublishable", str)  # refuses nothing
        assert (await service.post("/v1/procedures", ANALYST, content=twice, headers=YAML)).status_code == 201
    service.clock.pass_(seconds=1)
    assert (await service.post("/v1/procedures", ANALYST, content=twice, headers=YAML)).status_code == 200


@pytest.mark.parametrize("path", ["none", f"{PROCEDURE}?version=77", "none/schema"])
async def test_what_is_not_published_is_not_there(service: Service, path: str):
    assert (await service.get(f"/v1/procedures/{path}", CLERK)).status_code == 404
