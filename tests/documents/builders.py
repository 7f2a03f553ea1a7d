"""Documents made on the spot: PDFs object by object, so that each hostile one differs from a good one in one thing."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from PIL import Image

HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


def deflated(content: bytes, entries: bytes = b"") -> bytes:
    return stream(zlib.compress(content, 9), b"/Filter /FlateDecode " + entries)


def page_content(*lines: str) -> bytes:
    shown = b"".join(b"(%s) Tj T* " % line.encode("latin-1") for line in lines)
    return b"BT /F1 12 Tf 14 TL 72 760 Td " + shown + b"ET"


def assemble(objects: Mapping[int, bytes], *, trailer: bytes = b"", root: int = 1) -> bytes:
    """A PDF of numbered objects with a classic cross-reference table."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets: dict[int, int] = {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    size = max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 n \n" % offsets[number] if number in offsets else b"0000000000 65535 f \n"
    out += b"trailer\n<< /Size %d /Root %d 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, root, trailer, table)
    return bytes(out)


def pdf(
    *lines: str,
    pages: int = 1,
    catalog: bytes = b"",
    page: bytes = b"",
    content: bytes | None = None,
    more: Mapping[int, bytes] | None = None,
    trailer: bytes = b"",
) -> bytes:
    """A small PDF whose pages all show `lines`; `catalog` and `page` add entries, `more` further objects from 10 up."""
    kids = b" ".join(b"%d 0 R" % (100 + n) for n in range(pages))
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        2: b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, pages),
        3: HELVETICA,
        4: content if content is not None else stream(page_content(*(lines or ("A good document of one page.",)))),
        **(more or {}),
    }
    for n in range(pages):
        objects[100 + n] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> %s >>" % page
        )
    return assemble(objects, trailer=trailer)


def picture(image_format: str = "PNG", *, size: tuple[int, int] = (400, 300), frames: int = 1) -> bytes:
    images = [Image.effect_noise(size, 60 + n) for n in range(frames)]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(buffer, image_format, **options)
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    """A zip; in member names `__` stands for `/` and `_dot_` for a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return buffer.getvalue()


def with_xref_stream(objects: Mapping[int, bytes], *, inside: Mapping[int, tuple[int, int]]) -> bytes:
    """A PDF 1.5 file with a cross-reference stream; `inside`: object → (object stream, index in it)."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    rows: dict[int, bytes] = {0: b"\x00\x00\x00\x00\x00"}
    for number, body in objects.items():
        rows[number] = b"\x01" + len(out).to_bytes(3) + b"\x00"
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    for number, (holder, index) in inside.items():
        rows[number] = b"\x02" + holder.to_bytes(3) + bytes([index])
    own = max(rows) + 1
    at = len(out)
    rows[own] = b"\x01" + at.to_bytes(3) + b"\x00"
    table = b"".join(rows.get(number, rows[0]) for number in range(own + 1))
    entries = b"/Type /XRef /Size %d /W [1 3 1] /Root 1 0 R" % (own + 1)
    out += b"%d 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (own, stream(table, entries), at)
    return bytes(out)


# --- encryption: the standard security handler, revision 2 (RC4, 40 bits), PDF 32000-1, 7.6.3 ---------------------

_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def encrypted(*, user: bytes, owner: bytes, catalog: bytes = b"") -> bytes:
    """A PDF under a user and an owner password; an empty user password only forbids copying."""
    identity = b"0123456789abcdef"
    permissions = struct.pack("<i", -4)
    owner_entry = _rc4(hashlib.md5((owner + _PADDING)[:32]).digest()[:5], (user + _PADDING)[:32])  # noqa: S324
    key = hashlib.md5((user + _PADDING)[:32] + owner_entry + permissions + identity).digest()[:5]  # noqa: S324
    user_entry = _rc4(key, _PADDING)
    content = page_content("A page that is enciphered.")
    object_key = hashlib.md5(key + (4).to_bytes(3, "little") + b"\x00\x00").digest()[:10]  # noqa: S324
    handler = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (
        owner_entry.hex().encode(),
        user_entry.hex().encode(),
    )
    trailer = b"/Encrypt 10 0 R /ID [<%s> <%s>]" % (identity.hex().encode(), identity.hex().encode())
    return pdf(content=stream(_rc4(object_key, content)), more={10: handler}, trailer=trailer, catalog=catalog)
