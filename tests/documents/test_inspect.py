"""What is taken and what is not: every refusal has its stable reason and tells the sender what to do."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diwan.documents.inspect import DocumentStatus, Inspected, Limits, inspect
from diwan.documents.reasons import MESSAGES, Reason
from diwan.domain.text import Language
from tests.documents import builders
from tests.documents.builders import archive, deflated, pdf, picture, stream

JAVASCRIPT = b"<< /S /JavaScript /JS (app.alert\\(1\\)) >>"


def refused(data: bytes, reason: Reason, name: str = "document", declared: str = "") -> None:
    inspected = inspect(name, data, declared)
    assert inspected.reason == reason.value
    assert inspected.status is DocumentStatus.QUARANTINED
    assert inspected.message is not None


@pytest.mark.parametrize(
    ("name", "data", "media_type", "pages"),
    [
        ("acte.pdf", pdf(), "application/pdf", 1),
        ("acte.PDF", pdf(pages=12), "application/pdf", 12),
        ("acte", pdf(), "application/pdf", 1),
        ("v2.final", pdf(), "application/pdf", 1),
        ("carte.png", picture("PNG"), "image/png", 1),
        ("carte.jpg", picture("JPEG"), "image/jpeg", 1),
        ("carte.tif", picture("TIFF", frames=3), "image/tiff", 3),
        ("lettre.txt", "Je soussigné déclare…\n".encode(), "text/plain", 1),
        ("رسالة.txt", "أنا الموقع أسفله أصرح بما يلي".encode(), "text/plain", 1),
        ("lettre.txt", b"\xef\xbb\xbfwith a byte order mark", "text/plain", 1),
    ],
)
def test_ordinary_documents_are_taken(name: str, data: bytes, media_type: str, pages: int) -> None:
    assert inspect(name, data) == Inspected(media_type=media_type, status=DocumentStatus.ACCEPTED, pages=pages)


def test_an_image_of_another_accepted_kind_than_its_name_is_taken_and_noted() -> None:
    inspected = inspect("photo.png", picture("JPEG"), "image/png")
    assert (inspected.status, inspected.media_type) == (DocumentStatus.ACCEPTED, "image/jpeg")
    assert inspected.flags == ("name_differs",)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b" \n\t ", Reason.EMPTY),
        (b"MZ\x90\x00" + bytes(200), Reason.EXECUTABLE),
        (b"\x7fELF\x02\x01\x01" + bytes(200), Reason.EXECUTABLE),
        (b"\xcf\xfa\xed\xfe" + bytes(200), Reason.EXECUTABLE),
        (b"\xca\xfe\xba\xbe" + bytes(200), Reason.EXECUTABLE),
        (b"#!/bin/sh\nrm -rf /\n", Reason.EXECUTABLE),
        (b"\xef\xbb\xbf#!/usr/bin/python\n", Reason.EXECUTABLE),
        (b"@echo off\r\nformat c:", Reason.EXECUTABLE),
        (b"<?php system($_GET['c']); ?>", Reason.EXECUTABLE),
        (archive(META_INF=b"", **{"META-INF/MANIFEST.MF": b"Main-Class: A"}), Reason.EXECUTABLE),
        (archive(**{"a.pdf": b"%PDF-1.4"}), Reason.ARCHIVE),
        (archive(**{"bomb": bytes(30_000_000)}), Reason.ARCHIVE),
        (b"PK\x05\x06" + bytes(18), Reason.ARCHIVE),
        (b"\x1f\x8b\x08" + bytes(50), Reason.ARCHIVE),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), Reason.ARCHIVE),
        (archive(**{"[Content_Types].xml": b"<a/>", "word/document.xml": b"<a/>"}), Reason.OFFICE),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), Reason.OFFICE),
        (b"{\\rtf1 hello}", Reason.OFFICE),
        (archive(**{"[Content_Types].xml": b"<a/>", "word/vbaProject.bin": b"x"}), Reason.OFFICE_MACROS),
        (b"<!DOCTYPE html><script>alert(1)</script>", Reason.WEB_PAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", Reason.WEB_PAGE),
        (b"GIF89a" + bytes(50), Reason.UNSUPPORTED),
        ("héhé".encode("utf-16"), Reason.UNSUPPORTED),
        ("déclaré".encode("latin-1"), Reason.UNSUPPORTED),
        (b"text with a NUL \x00 byte", Reason.UNSUPPORTED),
    ],
)
def test_what_is_no_document_is_refused_by_its_content(data: bytes, reason: Reason) -> None:
    refused(data, reason)
    if reason is not Reason.EMPTY:
        refused(data, reason, "acte.pdf", "application/pdf")


@pytest.mark.parametrize(
    ("name", "declared", "data"),
    [
        ("acte.pdf", "", picture("PNG")),
        ("acte.png", "", pdf()),
        ("acte.txt", "application/pdf", b"plain text"),
        ("run.exe", "", pdf()),
        ("page.html", "", b"plain text"),
        ("lettre.docx", "", b"plain text"),
    ],
)
def test_a_claim_that_the_content_does_not_bear_out_is_refused(name: str, declared: str, data: bytes) -> None:
    refused(data, Reason.TYPE_MISMATCH, name, declared)


# --- PDF, one difference each ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pdf(catalog=b"/OpenAction 10 0 R", more={10: JAVASCRIPT}),
        pdf(catalog=b"/OpenAction 10 0 R", more={10: b"<< /S /J#61vaScript /JS (x) >>"}),
        pdf(catalog=b"/Names << /JavaScript << /Names [(a) 10 0 R] >> >>", more={10: JAVASCRIPT}),
        pdf(page=b"/AA << /O << /S /Launch /F (cmd.exe) >> >>"),
        pdf(page=b"/Annots [10 0 R]", more={10: b"<< /Type /Annot /Subtype /Link /A << /S /GoToE >> >>"}),
        pdf(catalog=b"/AcroForm << /XFA 10 0 R /Fields [] >>", more={10: stream(b"<xdp/>")}),
        pdf(page=b"/Annots [<< /Subtype /RichMedia >>]"),
        pdf(page=b"/Annots [<< /Subtype /Widget /A << /S /SubmitForm /F (http://x) >> >>]"),
    ],
)
def test_a_pdf_that_would_do_something_is_refused(data: bytes) -> None:
    refused(data, Reason.ACTIVE_CONTENT)


def test_javascript_inside_an_object_stream_is_found() -> None:
    inner = b"10 0 " + JAVASCRIPT
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R /OpenAction 10 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 10 10] >>",
        4: deflated(inner, b"/Type /ObjStm /N 1 /First 5"),
    }
    refused(builders.with_xref_stream(objects, inside={10: (4, 0)}), Reason.ACTIVE_CONTENT)


def test_javascript_that_no_table_leads_to_is_found() -> None:
    refused(pdf() + b"77 0 obj\n" + JAVASCRIPT + b"\nendobj\n%%EOF\n", Reason.ACTIVE_CONTENT)
    escaped = JAVASCRIPT.replace(b"/JavaScript", b"/Java#53cript")
    refused(pdf() + b"77 0 obj\n" + escaped + b"\nendobj\n%%EOF\n", Reason.ACTIVE_CONTENT)


def test_a_pdf_that_carries_files_is_refused() -> None:
    names = b"/Names << /EmbeddedFiles << /Names [(a.exe) 10 0 R] >> >>"
    carried = {10: b"<< /Type /Filespec /F (a.exe) /EF << /F 11 0 R >> >>", 11: stream(b"MZ", b"/Type /EmbeddedFile")}
    refused(pdf(catalog=names, more=carried), Reason.EMBEDDED_FILES)
    refused(pdf(page=b"/Annots [<< /Subtype /FileAttachment /FS 10 0 R >>]", more=carried), Reason.EMBEDDED_FILES)


def test_a_pdf_under_a_password_is_refused() -> None:
    refused(builders.encrypted(user=b"secret", owner=b"owner"), Reason.ENCRYPTED)


def test_a_pdf_that_only_forbids_copying_is_taken_and_still_looked_into() -> None:
    inspected = inspect("a.pdf", builders.encrypted(user=b"", owner=b"owner"))
    assert (inspected.status, inspected.flags) == (DocumentStatus.ACCEPTED, ("restricted",))
    refused(
        builders.encrypted(user=b"", owner=b"o", catalog=b"/OpenAction << /S /JavaScript >>"), Reason.ACTIVE_CONTENT
    )


def test_a_pdf_that_inflates_beyond_bounds_is_refused() -> None:
    refused(pdf(content=deflated(bytes(70_000_000))), Reason.BOMB)
    many = {10 + n: deflated(bytes(60_000_000)) for n in range(3)}
    refused(pdf(more=many), Reason.BOMB)
    twice = zlib.compress(zlib.compress(bytes(70_000_000), 9), 9)
    refused(pdf(content=stream(twice, b"/Filter [/FlateDecode /FlateDecode]")), Reason.BOMB)
    huge = stream(b"", b"/Subtype /Image /Width 60000 /Height 60000 /ColorSpace /DeviceGray /BitsPerComponent 8")
    refused(pdf(more={10: huge}), Reason.BOMB)


def test_too_many_pages_and_too_many_bytes_are_refused() -> None:
    refused(pdf(pages=201), Reason.TOO_MANY_PAGES)
    assert inspect("a", pdf(pages=4), limits=Limits(max_pages=3)).reason == Reason.TOO_MANY_PAGES
    assert inspect("a", pdf(), limits=Limits(max_bytes=100)).reason == Reason.TOO_LARGE
    assert inspect("a", picture("TIFF", frames=4), limits=Limits(max_pages=3)).reason == Reason.TOO_MANY_PAGES
    assert inspect("a", b"line\n" * 20_000, limits=Limits(max_pages=3)).reason == Reason.TOO_MANY_PAGES
    lying = pdf().replace(b"/Count 1", b"/Count 999999999")
    assert (inspect("a", lying).status, inspect("a", lying).pages) == (DocumentStatus.ACCEPTED, 1), "pages are counted"


def test_damaged_files_are_refused() -> None:
    whole = pdf()
    refused(whole[: len(whole) // 2], Reason.TRUNCATED)
    refused(b"%PDF-1.7\nnothing here\n%%EOF\n", Reason.CORRUPT)
    refused(
        pdf(pages=1).replace(b"/Kids [100 0 R]", b"/Kids [   ]    ").replace(b"/Count 1", b"/Count 0"), Reason.CORRUPT
    )
    refused(picture("JPEG")[:-2000], Reason.TRUNCATED)
    refused(picture("PNG")[:-2000], Reason.TRUNCATED)
    refused(b"\x89PNG\r\n\x1a\n" + bytes(40), Reason.CORRUPT)
    refused(b"II*\x00" + bytes(40), Reason.CORRUPT)


@pytest.mark.parametrize("side", [10_500, 60_000])
def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(side: int) -> None:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    refused(data + struct.pack(">I", 10) + b"IDAT" + bytes(14), Reason.BOMB)


def test_two_formats_in_one_file_are_refused() -> None:
    zipped = archive(**{"a.js": b"x"})
    refused(pdf() + zipped, Reason.POLYGLOT)
    refused(picture("PNG") + zipped, Reason.POLYGLOT)
    refused(b"\x00" * 40 + pdf(), Reason.POLYGLOT)
    refused(b"// comment\n" + pdf(), Reason.POLYGLOT)
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", comment=b"%PDF-1.4 hidden")
    refused(buffer.getvalue(), Reason.POLYGLOT)


def test_letters_spelled_in_invisible_tags_are_noted() -> None:
    hidden = "".join(chr(0xE0000 + ord(char)) for char in "approve")
    assert inspect("a.txt", f"Bonjour {hidden}".encode()).flags == ("hidden_text",)


STARTS = st.sampled_from([b"%PDF-1.7\n", b"II*\x00", b"\xff\xd8\xff", b"PK\x03\x04"])
GARBAGE = st.binary(max_size=300) | st.builds(bytes.__add__, STARTS, st.binary())


@st.composite
def one_byte_changed(draw: st.DrawFn) -> bytes:
    data = bytearray(pdf())
    data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(GARBAGE | one_byte_changed())
def test_no_bytes_make_it_raise(data: bytes) -> None:
    inspected = inspect("document", data)
    assert (inspected.reason == "") == (inspected.status is DocumentStatus.ACCEPTED)


def test_every_reason_tells_the_sender_something_in_three_languages() -> None:
    assert set(MESSAGES) == set(Reason)
    for message in MESSAGES.values():
        assert len({message.in_(language) for language in Language}) == 3
