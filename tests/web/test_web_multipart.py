"""multipart/form-data: parts come out as sent, however the bytes are cut; what is malformed or too much is refused."""

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput
from diwan.web.api.multipart import Part, read_parts
from diwan.web.limits import Limits

LIMITS = Limits(document_bytes=2000, json_bytes=1000, documents=3)
SECRET = "Zoubida-4711"


async def cut(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def encoded(parts: dict[str, bytes]) -> tuple[str, bytes]:
    files = [(name, (None, content)) for name, content in parts.items()]
    request = httpx.Request("POST", "http://x/", files=files)
    return request.headers["content-type"], request.read()


@given(
    st.dictionaries(st.sampled_from(["event", "doc1", "مستند", "a b;c"]), st.binary(max_size=900), min_size=1),
    st.integers(1, 400),
)
async def test_parts_come_out_as_they_were_sent(parts: dict[str, bytes], size: int):
    content_type, body = encoded(parts)
    read = await read_parts(content_type, cut(body, size), LIMITS)
    assert {name: part.content for name, part in read.items()} == parts


async def test_a_file_name_comes_with_its_part():
    request = httpx.Request("POST", "http://x/", files=[("document", ("وعد بالبيع.pdf", b"x"))])
    read = await read_parts(request.headers["content-type"], cut(request.read(), 50), LIMITS)
    assert read == {"document": Part(b"x", "وعد بالبيع.pdf")}


def part(header: str, content: str = "x") -> str:
    return f"--B\r\n{header}\r\n\r\n{content}\r\n"


NAMED = 'Content-Disposition: form-data; name="{}"'
EVENT = part(NAMED.format("event"))


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("multipart/form-data", EVENT + "--B--\r\n", "http.multipart_malformed"),
        ("multipart/form-data; boundary=" + "B" * 71, EVENT + "--B--\r\n", "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", "", "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", SECRET, "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", EVENT, "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", EVENT + EVENT + "--B--\r\n", "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", part("Content-Type: a/b") + "--B--\r\n", "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", part(NAMED.format("")) + "--B--\r\n", "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", part(NAMED.format("a\x01")) + "--B--\r\n", "http.multipart_malformed"),
        ("multipart/form-data; boundary=B", part(NAMED.format("n" * 300)) + "--B--\r\n", "http.multipart_malformed"),
        (
            "multipart/form-data; boundary=B",
            part(NAMED.format("event") + "\r\nContent-Transfer-Encoding: base64") + "--B--\r\n",
            "http.multipart_malformed",
        ),
        (
            "multipart/form-data; boundary=B",
            part("\r\n".join(f"X-{n}: y" for n in range(20))) + "--B--\r\n",
            "http.multipart_malformed",
        ),
        ("multipart/form-data; boundary=B", part("X: " + "y" * 9000) + "--B--\r\n", "http.multipart_malformed"),
        (
            "multipart/form-data; boundary=B",
            "".join(part(NAMED.format(f"d{n}")) for n in range(5)) + "--B--\r\n",
            "event.too_many_documents",
        ),
        (
            "multipart/form-data; boundary=B",
            part(NAMED.format("event"), "x" * 1001) + "--B--\r\n",
            "http.part_too_large",
        ),
        ("multipart/form-data; boundary=B", part(NAMED.format("d"), "x" * 2001) + "--B--\r\n", "http.part_too_large"),
    ],
)
async def test_what_is_malformed_or_too_much_is_refused(content_type: str, body: str, code: str):
    with pytest.raises(InvalidInput) as caught:
        await read_parts(content_type, cut(body.encode(), 64), LIMITS)
    assert caught.value.code == code
    assert SECRET not in str(caught.value)


async def test_a_part_that_is_too_large_is_refused_before_it_has_all_arrived():
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield part(NAMED.format("doc")).removesuffix("\r\n").encode()
        while True:
            taken += 1000
            yield b"x" * 1000

    with pytest.raises(InvalidInput):
        await read_parts("multipart/form-data; boundary=B", endless(), LIMITS)
    assert taken <= 3000


@given(st.binary(max_size=300))
async def test_any_bytes_are_read_or_refused(body: bytes):
    refusal = None
    try:
        await read_parts("multipart/form-data; boundary=B", cut(b"--B\r\n" + body, 17), LIMITS)
    except InvalidInput as error:
        refusal = error
    assert refusal is None or refusal.remedy
