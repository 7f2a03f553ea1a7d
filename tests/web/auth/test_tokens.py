"""Access tokens: every way in which one can be wrong is refused, with a code and a remedy."""

from __future__ import annotations

import base64
import hmac
import json
import traceback
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey

from diwan.domain.actor import Actor, ActorKind, Role
from diwan.domain.errors import DiwanError, Unauthenticated
from diwan.web.auth import TokenVerifier
from tests.web.auth.tokens import ISSUER, KEYS, NOW, RSA, Issuer, claims, code_of, part, token
from tests.web.conftest import Clock


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
    verifier = TokenVerifier(ISSUER, "diwan", Issuer().fetch, clock=Clock(NOW))
    with pytest.raises(Unauthenticated):
        await verifier.verify(".".join((part(header), *segments)))


@pytest.mark.parametrize("claim", ["tenant", "iss", "aud", "exp", "sub"])
async def test_messages_repeat_nothing_of_the_token(verifier: TokenVerifier, claim: str) -> None:
    planted = "ZZ" + "100001"  # in two halves, for tracebacks show source lines too
    changes: dict[str, Any] = {"sub": f"{planted}\n", "tenant": planted, claim: [planted]}
    with pytest.raises(Unauthenticated) as raised:
        await verifier.verify(token(**changes))
    assert planted not in "".join(traceback.format_exception(raised.value))
