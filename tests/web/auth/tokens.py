"""An issuer in memory, and tokens of every kind: good ones, and what an attacker would make."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from diwan.domain.errors import Unauthenticated, Unavailable
from diwan.web.auth import TokenVerifier

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
