"""Access tokens: every way in which one can be wrong is refused, with a code, a remedy and a record."""

from __future__ import annotations

import base64
import hmac
import json
import traceback
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Annotated, Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from structlog.testing import capture_logs

from diwan.domain.actor import Actor, ActorKind, Role
from diwan.domain.errors import DiwanError, InvalidInput, Unauthenticated, Unavailable
from diwan.web.auth import TokenVerifier, require
from diwan.web.jwks import http_fetch

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ISSUER = "https://login.ministry.example/realms/diwan"
RSA = RSAKey.generate_key(2048, {"use": "sig"}, auto_kid=True)
KEYS: dict[str, Key] = {
    "RS256": RSA,
    "ES256": ECKey.generate_key("P-256", auto_kid=True),
    "Ed25519": OKPKey.generate_key("Ed25519", auto_kid=True),
}
KEYS["EdDSA"] = KEYS["Ed25519"]


class Issuer:
    """Serves discovery and keys from memory; counts fetches, can be away."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [dict(key.as_dict(private=False)) for key in KEYS.values()][:3]
        self.metadata: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"}
        self.away = False
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> Mapping[str, Any]:
        self.fetched.append(url)
        if self.away:
            raise Unavailable("auth.issuer_unavailable", "away")
        if url == f"{ISSUER}/.well-known/openid-configuration":
            return self.metadata
        assert url == f"{ISSUER}/jwks"
        return {"keys": self.keys}

    @property
    def rounds(self) -> int:
        """How often the metadata were asked for."""
        return sum(url.endswith("openid-configuration") for url in self.fetched)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> TokenVerifier:
    return TokenVerifier(ISSUER, "diwan", issuer.fetch, clock=clock)


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token; a change to None leaves the claim out."""
    usual = {
        "iss": ISSUER,
        "aud": "diwan",
        "sub": "u-7",
        "tenant": "demo",
        "roles": ["clerk"],
        "iat": int(NOW.timestamp()),
        "exp": int((NOW + timedelta(hours=1)).timestamp()),
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def token(
    algorithm: str = "ES256", key: Key | None = None, header: Mapping[str, Any] | None = None, **more: Any
) -> str:
    key = key or KEYS[algorithm]
    protected = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid, **(header or {})}
    return jwt.encode(
        {k: v for k, v in protected.items() if v is not None}, claims(**more), key, registry=_AnyAlgorithm()
    )


class _AnyAlgorithm(JWSRegistry):
    """Signs with whatever is asked for, as an attacker would."""

    def __init__(self) -> None:
        super().__init__(strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def code_of(verifier: TokenVerifier, text: str) -> str:
    with pytest.raises(Unauthenticated) as raised:
        await verifier.verify(text)
    assert raised.value.remedy
    return raised.value.code


@pytest.mark.parametrize("algorithm", list(KEYS))
@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "AT+JWT", "JWT", None])
async def test_a_good_token_gives_its_actor(verifier: TokenVerifier, algorithm: str, kind: str | None) -> None:
    assert await verifier.verify(token(algorithm, header={"typ": kind})) == Actor(
        kind=ActorKind.PERSON,
        subject="u-7",
        tenant="demo",
        roles=frozenset({Role.CLERK}),
        authentication=f"oidc:{ISSUER}",
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://login.other.example"}, "auth.issuer_wrong"),
        ({"iss": f"{ISSUER}/"}, "auth.issuer_wrong"),
        ({"iss": None}, "auth.claim_missing"),
        ({"aud": "another-service"}, "auth.audience_wrong"),
        ({"aud": []}, "auth.audience_wrong"),
        ({"aud": ["a", "b"]}, "auth.audience_wrong"),
        ({"aud": {"diwan": 1}}, "auth.audience_wrong"),
        ({"aud": None}, "auth.claim_missing"),
        ({"exp": int((NOW - timedelta(seconds=31)).timestamp())}, "auth.token_expired"),
        ({"exp": None}, "auth.claim_missing"),
        ({"exp": "never"}, "auth.claim_invalid"),
        ({"nbf": int((NOW + timedelta(seconds=31)).timestamp())}, "auth.token_not_yet_valid"),
        ({"iat": int((NOW + timedelta(seconds=31)).timestamp())}, "auth.token_from_the_future"),
        ({"iat": None}, "auth.claim_missing"),
        ({"sub": None}, "auth.claim_missing"),
        ({"sub": ""}, "auth.claim_invalid"),
        ({"sub": 7}, "auth.claim_invalid"),
        ({"sub": "nul\x00"}, "auth.claim_invalid"),
        ({"sub": "x" * 201}, "auth.claim_invalid"),
        ({"sub": "é" * 101}, "auth.claim_invalid"),
        ({"tenant": "x" * 201}, "auth.tenant_missing"),
        ({"tenant": None}, "auth.tenant_missing"),
        ({"tenant": ""}, "auth.tenant_missing"),
        ({"tenant": ["demo"]}, "auth.tenant_missing"),
        ({"tenant": "de\nmo"}, "auth.tenant_missing"),
    ],
)
async def test_a_wrong_claim_is_refused(verifier: TokenVerifier, changes: dict[str, Any], code: str) -> None:
    assert await code_of(verifier, token(**changes)) == code


def test_an_issuer_that_a_ledger_entry_cannot_name_is_refused(issuer: Issuer) -> None:
    longest = "https://" + "x" * 187
    assert TokenVerifier(longest, "diwan", issuer.fetch)
    with pytest.raises(DiwanError) as raised:
        TokenVerifier(f"{longest}x", "diwan", issuer.fetch)
    assert raised.value.code == "auth.issuer_too_long"


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
async def test_clocks_may_differ_a_little(verifier: TokenVerifier, claim: str) -> None:
    off = -29 if claim == "exp" else 29
    changes: dict[str, Any] = {claim: int((NOW + timedelta(seconds=off)).timestamp())}
    assert await verifier.verify(token(**changes))


async def test_one_of_several_audiences_is_enough(verifier: TokenVerifier) -> None:
    assert await verifier.verify(token(aud=["account", "diwan"]))


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["clerk", "supervisor", "emperor", "offline_access"], {Role.CLERK, Role.SUPERVISOR}),
        ([], set()),
        (None, set()),
        ("clerk", set()),
        ([["clerk"], 5, None, {"clerk": 1}], set()),
    ],
)
async def test_unknown_roles_give_nothing(verifier: TokenVerifier, names: object, roles: set[Role]) -> None:
    assert (await verifier.verify(token(roles=names))).roles == roles


async def test_a_credential_for_intake_alone_is_a_source(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(token(roles=["intake"]))).kind is ActorKind.SOURCE
    assert (await verifier.verify(token(roles=["intake", "clerk"]))).kind is ActorKind.PERSON


# --- signatures ----------------------------------------------------------------------------------------------------


async def test_an_unsigned_token_is_refused(verifier: TokenVerifier) -> None:
    for algorithm in ("none", "None", "NONE", ""):
        text = f"{part({'alg': algorithm, 'kid': KEYS['ES256'].kid})}.{part(claims())}."
        assert await code_of(verifier, text) == "auth.algorithm_refused"


async def test_the_public_key_is_no_hmac_secret(verifier: TokenVerifier) -> None:
    """The classic confusion: HS256 keyed with the published RSA key, in each form it could be read."""
    public = RSA.public_key
    for kind in (Encoding.PEM, Encoding.DER):
        secret = public.public_bytes(kind, PublicFormat.SubjectPublicKeyInfo)
        for name, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            signed = f"{part({'alg': name, 'kid': RSA.kid})}.{part(claims())}"
            mac = hmac.new(secret, signed.encode(), digest).digest()
            text = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
            assert await code_of(verifier, text) == "auth.algorithm_refused"


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "ES384", "ES256K", "RS1", "HS256"])
async def test_an_algorithm_that_is_not_on_the_list_is_refused(verifier: TokenVerifier, algorithm: str) -> None:
    text = f"{part({'alg': algorithm, 'kid': KEYS['RS256'].kid})}.{part(claims())}.c2ln"
    assert await code_of(verifier, text) == "auth.algorithm_refused"


async def test_a_published_symmetric_key_is_never_used(issuer: Issuer, verifier: TokenVerifier) -> None:
    shared = OctKey.generate_key(256, {"use": "sig"}, auto_kid=True)
    issuer.keys.append(dict(shared.as_dict(private=True)))
    assert await code_of(verifier, token("HS256", shared)) == "auth.algorithm_refused"
    text = f"{part({'alg': 'ES256', 'kid': shared.kid})}.{part(claims())}.c2ln"
    assert await code_of(verifier, text) == "auth.key_unknown"


@pytest.mark.parametrize(("claimed", "used"), [*permutations(["RS256", "ES256", "Ed25519"], 2)])
async def test_a_key_of_another_kind_does_not_verify(verifier: TokenVerifier, claimed: str, used: str) -> None:
    text = token(used, header={"kid": KEYS[claimed].kid})
    assert await code_of(verifier, text) == "auth.signature_invalid"


async def test_a_strangers_signature_under_a_known_key_id_is_refused(verifier: TokenVerifier) -> None:
    stranger = ECKey.generate_key("P-256")
    assert await code_of(verifier, token(key=stranger, header={"kid": KEYS["ES256"].kid})) == "auth.signature_invalid"


async def test_a_key_brought_by_the_token_itself_is_not_used(verifier: TokenVerifier) -> None:
    own = ECKey.generate_key("P-256", auto_kid=True)
    for header in (
        {"jwk": own.as_dict(private=False)},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://e.example"},
    ):
        text = token(key=own, header={**header, "kid": KEYS["ES256"].kid})
        assert await code_of(verifier, text) == "auth.signature_invalid"


async def test_a_changed_payload_is_refused(verifier: TokenVerifier) -> None:
    head, _, signature = token().split(".")
    text = f"{head}.{part(claims(roles=['authority']))}.{signature}"
    assert await code_of(verifier, text) == "auth.signature_invalid"


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"b64": False, "crit": ["b64"]}, {"b64": False}])
async def test_headers_that_ask_for_other_rules_are_refused(verifier: TokenVerifier, header: dict[str, Any]) -> None:
    head, payload, signature = token().split(".")
    changed = {**json.loads(base64.urlsafe_b64decode(head + "==")), **header}
    assert await code_of(verifier, f"{part(changed)}.{payload}.{signature}") == "auth.signature_invalid"


@pytest.mark.parametrize(
    ("header", "more"),
    [
        ({"typ": "logout+jwt"}, {}),
        ({"typ": "dpop+jwt"}, {}),
        ({"typ": "JWT"}, {"at_hash": "x"}),
        ({"typ": None}, {"c_hash": "x"}),
        ({"typ": "JWT"}, {"typ": "ID"}),
        ({"typ": "JWT"}, {"typ": "Refresh"}),
    ],
)
async def test_what_the_issuer_signed_for_something_else_is_refused(
    verifier: TokenVerifier, header: dict[str, Any], more: dict[str, Any]
) -> None:
    assert await code_of(verifier, token(header=header, **more)) == "auth.not_an_access_token"


async def test_keycloak_access_tokens_are_taken(verifier: TokenVerifier) -> None:
    assert await verifier.verify(token(header={"typ": "JWT"}, typ="Bearer"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b",
        "a.b.c.d",
        "..",
        f"{part([])}.e30.",
        f"{part('alg')}.e30.",
        f"{part(5)}.e30.",
        f"{part({'alg': 'ES256', 'x': 'y' * 2000})}.e30.c2ln",
        f"{base64.urlsafe_b64encode(b'[' * 380).decode()}.e30.c2ln",
        "é.é.é",
        "\ud800.a.b",
        f"{part({'alg': 'ES256'})}.{'x' * 17_000}.c2ln",
    ],
)
async def test_what_is_no_token_is_refused(verifier: TokenVerifier, issuer: Issuer, text: str) -> None:
    assert await code_of(verifier, text) == "auth.token_malformed"
    assert not issuer.fetched


@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), inner, max_size=4)
        ),
        max_leaves=8,
    ),
    payload=st.binary(max_size=30),
    signature=st.binary(max_size=70),
)
async def test_no_header_gets_anything_but_a_refusal(header: Any, payload: bytes, signature: bytes) -> None:
    if isinstance(header, dict):
        header.setdefault("alg", "ES256")
    segments = (base64.urlsafe_b64encode(each).decode().rstrip("=") for each in (payload, signature))
    verifier = TokenVerifier(ISSUER, "diwan", Issuer().fetch, clock=Clock())
    with pytest.raises(Unauthenticated):
        await verifier.verify(".".join((part(header), *segments)))


@pytest.mark.parametrize("claim", ["tenant", "iss", "aud", "exp", "sub"])
async def test_messages_repeat_nothing_of_the_token(verifier: TokenVerifier, claim: str) -> None:
    planted = "ZZ" + "100001"  # in two halves, for tracebacks show source lines too
    changes: dict[str, Any] = {"sub": f"{planted}\n", "tenant": planted, claim: [planted]}
    with pytest.raises(Unauthenticated) as raised:
        await verifier.verify(token(**changes))
    assert planted not in "".join(traceback.format_exception(raised.value))


# --- keys ----------------------------------------------------------------------------------------------------------


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
    assert await TokenVerifier(ISSUER, "diwan", lone.fetch, clock=Clock()).verify(token(header={"kid": None}))


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


async def test_an_issuer_that_does_not_answer_is_unavailable() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
        with pytest.raises(Unavailable):
            await http_fetch(client)("https://login.example/jwks")


# --- routes --------------------------------------------------------------------------------------------------------


class Recorded:
    def __init__(self) -> None:
        self.refusals: list[tuple[str | None, str, str]] = []
        self.broken = False

    async def __call__(self, actor: Actor | None, code: str, route: str) -> None:
        if self.broken:
            raise Unavailable("database.away", "away")
        self.refusals.append((actor and actor.subject, code, route))


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
async def http(verifier: TokenVerifier, recorded: Recorded) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.verifier = verifier
    app.state.refusals = recorded

    @app.get("/cases/{case}")
    async def case(case: str, actor: Annotated[Actor, Depends(require(Role.CLERK, Role.SUPERVISOR))]) -> str:
        return actor.subject

    @app.get("/me")
    async def me(actor: Annotated[Actor, Depends(require())]) -> str:
        return actor.subject

    @app.exception_handler(DiwanError)
    async def problem(_: object, error: DiwanError) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse({"code": error.code}, error.status)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://diwan") as client:
        yield client


async def test_a_role_opens_its_routes(http: httpx.AsyncClient, recorded: Recorded) -> None:
    for roles, path in ((["clerk"], "/cases/7"), (["supervisor", "x"], "/cases/7"), ([], "/me")):
        answer = await http.get(path, headers={"authorization": f"bearer {token(roles=roles)}"})
        assert (answer.status_code, answer.json()) == (200, "u-7")
    assert recorded.refusals == []


async def test_a_missing_role_is_refused_and_recorded(http: httpx.AsyncClient, recorded: Recorded) -> None:
    answer = await http.get("/cases/7", headers={"authorization": f"Bearer {token(roles=['auditor'])}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "auth.role_missing")
    assert recorded.refusals == [("u-7", "auth.role_missing", "GET /cases/{case}")]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer  ")],
        [("authorization", "Basic dTpw")],
        [("authorization", "Bearer a"), ("authorization", "Bearer b")],
    ],
)
async def test_a_request_without_one_token_is_refused_and_recorded(
    http: httpx.AsyncClient, recorded: Recorded, headers: list[tuple[str, str]]
) -> None:
    answer = await http.get("/cases/7", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_missing")
    assert recorded.refusals == [(None, "auth.token_missing", "GET /cases/{case}")]


async def test_a_bad_token_is_recorded_without_an_actor(http: httpx.AsyncClient, recorded: Recorded) -> None:
    bad = token(iss="https://other.example")
    with capture_logs() as logs:
        answer = await http.get("/cases/7", headers={"authorization": f"Bearer {bad}"})
    assert answer.status_code == 401
    assert recorded.refusals == [(None, "auth.issuer_wrong", "GET /cases/{case}")]
    assert [line["event"] for line in logs] == ["auth.refused"]
    assert bad not in json.dumps(logs)


async def test_an_issuer_that_is_away_is_no_refusal(
    http: httpx.AsyncClient, recorded: Recorded, issuer: Issuer
) -> None:
    issuer.away = True
    answer = await http.get("/me", headers={"authorization": f"Bearer {token()}"})
    assert answer.status_code == 503
    assert recorded.refusals == []


async def test_what_cannot_be_recorded_is_refused_all_the_same(http: httpx.AsyncClient, recorded: Recorded) -> None:
    recorded.broken = True
    with capture_logs() as logs:
        answer = await http.get("/me")
    assert answer.status_code == 401
    assert "auth.refusal.unrecorded" in [line["event"] for line in logs]
