"""The demo issuer's signing key and the access tokens that it signs (RFC 9068, ES256)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from diwan.domain.errors import NotFound
from diwan.vault import secretfile

AUDIENCE = "diwan"
LIFETIME = timedelta(hours=1)


def new_key() -> ECKey:
    return ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)


def key_in(path: Path) -> ECKey:
    """The key kept in a private file; made when there is none."""
    try:
        return ECKey.import_key(json.loads(secretfile.read(path)))
    except NotFound:
        key = new_key()
        secretfile.create(path, json.dumps(key.as_dict(private=True)).encode() + b"\n")
        return key


def public_keys(key: ECKey) -> dict[str, Any]:
    """JSON Web Key Set with the public half."""
    return {**KeySet([key]).as_dict(private=False)}


def make_token(
    key: ECKey,
    issuer: str,
    subject: str,
    tenant: str,
    roles: Iterable[str],
    *,
    now: datetime,
    lifetime: timedelta = LIFETIME,
    **more: Any,
) -> str:
    """A signed access token; `more` are claims that are added or take the place of the usual ones."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": subject,
        "client_id": subject,
        "tenant": tenant,
        "roles": sorted(roles),
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
        "jti": secrets.token_urlsafe(16),
        **more,
    }
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, claims, key, algorithms=["ES256"])
