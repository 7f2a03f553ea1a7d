"""The issuer's keys: fetched rarely, believed for a day while it is away, and never where they do not fit."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from diwan.domain.errors import InvalidInput, Unavailable
from diwan.web.auth import TokenVerifier
from diwan.web.jwks import http_fetch
from tests.web.auth.tokens import ISSUER, KEYS, NOW, Issuer, code_of, token
from tests.web.conftest import Clock


async def test_keys_are_fetched_once_for_many_tokens(verifier: TokenVerifier, issuer: Issuer, clock: Clock) -> None:
    for _ in range(5):
        await verifier.verify(token())
        clock.pass_(seconds=60)
    assert issuer.rounds == 1


async def test_a_new_key_of_the_issuer_is_found(verifier: TokenVerifier, issuer: Issuer, clock: Clock) -> None:
    await verifier.verify(token())
    new = ECKey.generate_key("P-256", auto_kid=True)
    issuer.keys.append(dict(new.as_dict(private=False)))
    clock.pass_(seconds=11)
    assert await verifier.verify(token(key=new))
    assert issuer.rounds == 2


async def test_a_flood_of_unknown_key_ids_is_not_passed_on(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    for number in range(200):
        text = token(header={"kid": f"made-up-{number}"})
        assert await code_of(verifier, text) == "auth.key_unknown"
        clock.pass_(seconds=0.1)
    assert issuer.rounds <= 3


async def test_a_withdrawn_key_stops_counting(verifier: TokenVerifier, issuer: Issuer, clock: Clock) -> None:
    await verifier.verify(token("RS256"))
    issuer.keys = issuer.keys[1:]
    clock.pass_(minutes=10)
    assert await code_of(verifier, token("RS256")) == "auth.key_unknown"


async def test_while_the_issuer_is_away_known_keys_serve_for_a_day(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    await verifier.verify(token())
    issuer.away = True
    clock.pass_(minutes=50)
    assert await verifier.verify(token())
    with pytest.raises(Unavailable):  # it may have this key by now: nobody can say
        await verifier.verify(token(header={"kid": "unknown"}))
    clock.pass_(hours=24)
    with pytest.raises(Unavailable):
        await verifier.verify(token(exp=int((clock.now + timedelta(hours=1)).timestamp())))
    issuer.away = False
    clock.pass_(seconds=3)
    assert await verifier.verify(token(exp=int((clock.now + timedelta(hours=1)).timestamp())))


async def test_without_any_key_it_is_unavailable_and_soon_tried_again(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    issuer.away = True
    for _ in range(10):
        with pytest.raises(Unavailable):
            await verifier.verify(token())
        with pytest.raises(Unavailable):
            await verifier.ready()
    assert issuer.rounds == 1
    issuer.away = False
    clock.pass_(seconds=2)
    assert await verifier.verify(token())


async def test_a_clock_set_back_does_not_stop_refreshing(verifier: TokenVerifier, issuer: Issuer, clock: Clock) -> None:
    clock.pass_(days=2)
    await verifier.ready()
    clock.now = NOW
    await verifier.ready()
    assert issuer.rounds == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": f"{ISSUER}/"},
        {"jwks_uri": None},
        {"jwks_uri": "http://login.ministry.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://[bad"},
    ],
)
async def test_metadata_that_do_not_fit_are_not_followed(
    verifier: TokenVerifier, issuer: Issuer, metadata: dict[str, Any]
) -> None:
    issuer.metadata |= metadata
    with pytest.raises(Unavailable) as raised:
        await verifier.verify(token())
    assert raised.value.code == "auth.issuer_unavailable"
    assert len(issuer.fetched) == 1


async def test_keys_that_may_not_sign_are_left_out(verifier: TokenVerifier, issuer: Issuer) -> None:
    good = KEYS["ES256"].as_dict(private=False)
    with pytest.warns(SecurityWarning):
        weak = RSAKey.generate_key(1024, auto_kid=True)
    private = ECKey.generate_key("P-256", auto_kid=True)
    issuer.keys = [
        {**KEYS["RS256"].as_dict(private=False), "use": "enc"},
        {"kty": "AKP", "kid": "quantum"},
        {"kty": "EC", "crv": "P-256", "x": "short", "y": "short", "kid": "broken"},
        dict(weak.as_dict(private=False)),
        dict(private.as_dict(private=True)),
        "not a key",  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
        dict(good),
    ]
    assert await verifier.verify(token())
    for text in (token("RS256"), token("RS256", weak), token(key=private)):
        assert await code_of(verifier, text) == "auth.key_unknown"


async def test_a_token_without_key_id_needs_an_issuer_with_one_key(verifier: TokenVerifier, issuer: Issuer) -> None:
    assert await code_of(verifier, token(header={"kid": None})) == "auth.key_unknown"
    lone = Issuer()
    lone.keys = [dict(KEYS["ES256"].as_dict(private=False))]
    assert await TokenVerifier(ISSUER, "diwan", lone.fetch, clock=Clock(NOW)).verify(token(header={"kid": None}))


@pytest.mark.parametrize("issuer_url", ["http://login.ministry.example", "ftp://x.example", "", "login", "https://"])
def test_an_issuer_over_plain_http_is_refused(issuer_url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        TokenVerifier(issuer_url, "diwan", Issuer().fetch)
    assert raised.value.code == "auth.issuer_not_secure"


def _answering(status: int, content: bytes) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, content=content)))


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b"{}"),
        (404, b"{}"),
        (302, b"{}"),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b""),
        (200, b'{"a":"' + b"x" * 600_000 + b'"}'),
    ],
)
async def test_answers_that_are_no_document_are_unavailable(status: int, content: bytes) -> None:
    async with _answering(status, content) as client:
        with pytest.raises(Unavailable):
            await http_fetch(client)("https://login.example/jwks")


async def test_a_packed_document_is_not_unpacked() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])

        async def packed() -> AsyncIterator[bytes]:
            yield gzip.compress(gzip.compress(b"{}"))

        return httpx.Response(200, headers={"content-encoding": "gzip, gzip"}, content=packed())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(Unavailable, match="packed"):
            await http_fetch(client)("https://login.example/jwks")
    assert asked == ["identity"]


async def test_an_issuer_that_does_not_answer_is_unavailable() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
        with pytest.raises(Unavailable):
            await http_fetch(client)("https://login.example/jwks")
