"""Documents over HTTP: with their event or ahead of it; a bad one is put aside and the event is taken."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from tests.support.factories import CLERK, sender
from tests.web.conftest import PDF, Service, an_event, doc


def bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 20_000_000)
    return made.getvalue()


ENCRYPTED = PDF.replace(b"/Root 1 0 R", b"/Root 1 0 R/Encrypt 9 0 R")

BAD_DOCUMENTS: dict[str, tuple[str, bytes]] = {
    "a zip bomb": ("a.zip", bomb()),
    "a zip bomb that says it is a PDF": ("a.pdf", bomb()),
    "an executable": ("a.exe", b"MZ\x90\x00" + b"\0" * 200),
    "a program that says it is a PDF": ("a.pdf", b"\x7fELF" + b"\0" * 200),
    "an encrypted PDF": ("a.pdf", ENCRYPTED),
    "nothing": ("a.pdf", b""),
    "noise": ("a.pdf", bytes(range(256)) * 20),
}


@pytest.mark.parametrize(("name", "content"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS.keys())
async def test_a_bad_document_is_put_aside_and_the_event_is_taken(service: Service, name: str, content: bytes):
    event = an_event(data={"documents": [doc("bad", name), doc("good")]})
    answer = await service.send(event, {"bad": content, "good": PDF})
    assert answer.status_code == 202, answer.text
    bad, good = answer.json()["documents"]
    assert (bad["index"], bad["status"], good["status"]) == (0, "quarantined", "accepted")
    assert bad["reason"].startswith("document.")
    assert bad["remedy"]
    refused = await service.get(f"{answer.json()['address']}/documents/{bad['document']}", CLERK)
    assert (refused.status_code, refused.json()["code"]) == (403, "document.in_quarantine")


async def test_remedies_speak_the_callers_language(service: Service):
    body = json.dumps(an_event(data={"documents": [doc("a")]})).encode()
    headers = {"Accept-Language": "ar-MA, fr;q=0.5"}
    answer = await service.post(
        "/v1/events", sender(), files={"event": (None, body), "a": (None, b"")}, headers=headers
    )
    assert "الملف" in answer.json()["documents"][0]["remedy"]


@pytest.mark.parametrize(
    ("documents", "parts"),
    [
        ([], {"a": PDF}),
        ([doc("a"), doc("a")], {"a": PDF}),
        ([doc("a")], {"a": PDF, "b": PDF}),
        ([doc("a"), doc("b")], {"a": PDF}),
    ],
)
async def test_documents_and_parts_have_to_match(
    service: Service, documents: list[dict[str, str]], parts: dict[str, bytes]
):
    answer = await service.send(an_event(data={"documents": documents}), parts)
    assert (answer.status_code, answer.json()["code"]) == (422, "event.documents_differ")


async def test_a_document_that_is_too_large_is_refused(service: Service):
    answer = await service.send(an_event(data={"documents": [doc("a")]}), {"a": b"x" * 3_000_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "http.body_too_large")


async def test_a_multipart_body_needs_its_event(service: Service):
    answer = await service.post("/v1/events", sender(), files={"doc": (None, PDF)})
    assert (answer.status_code, answer.json()["code"]) == (422, "event.part_missing")


async def test_an_upload_ahead_is_named_by_its_ref(service: Service):
    upload = await service.post("/v1/documents", sender(), files={"document": ("promesse.pdf", PDF)})
    assert (upload.status_code, upload.json()["status"], upload.json()["pages"]) == (201, "accepted", 1)
    event = an_event(data={"documents": [{"name": "promesse.pdf", "ref": upload.json()["ref"]}]})
    answer = await service.send(event)
    assert answer.status_code == 202, answer.text
    document = answer.json()["documents"][0]["document"]
    content = await service.get(f"{answer.json()['address']}/documents/{document}", CLERK)
    assert content.content == PDF
    again = await service.send(an_event(data=event["data"] | {"reference": "again"}))
    assert (again.status_code, again.json()["code"]) == (422, "document.not_staged")


async def test_another_senders_upload_is_not_there(service: Service):
    upload = await service.post("/v1/documents", sender("other"), files={"document": ("a.pdf", PDF)})
    answer = await service.send(an_event(data={"documents": [{"name": "a.pdf", "ref": upload.json()["ref"]}]}))
    assert (answer.status_code, answer.json()["code"]) == (422, "document.not_staged")


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ({}, 400, "http.multipart_malformed"),
        ({"document": PDF, "more": PDF}, 422, "document.part_missing"),
        ({"other": PDF}, 422, "document.part_missing"),
    ],
)
async def test_an_upload_is_one_document(service: Service, parts: dict[str, bytes], status: int, code: str):
    files = {name: (None, content) for name, content in parts.items()} or {"": (None, b"")}
    answer = await service.post("/v1/documents", sender(), files=files)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_upload_that_is_in_quarantine_stays_so_when_it_is_named(service: Service):
    upload = await service.post("/v1/documents", sender(), files={"document": ("a.pdf", b"MZ\x90\x00" + b"\0" * 90)})
    assert upload.json()["status"] == "quarantined"
    event = an_event(data={"documents": [{"name": "a.pdf", "ref": upload.json()["ref"]}]})
    first, again = await service.send(event), await service.send(event)
    assert first.json()["documents"][0]["reason"] == upload.json()["reason"]
    assert (again.status_code, again.json()) == (202, first.json())
