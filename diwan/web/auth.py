"""Who calls: access tokens of the ministry's own issuer, checked on every request (docs/adr/0006-authentication.md)."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard, cast

import structlog
from fastapi import Request
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from diwan.domain.actor import Actor, ActorKind, Role
from diwan.domain.errors import DiwanError, Final, Refused, Unauthenticated
from diwan.web.jwks import Fetch, SigningKeys

log = structlog.get_logger()

ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA", "Ed25519"})
LEEWAY_S = 30
_MAX_TOKEN_CHARS = 16 * 1024
_MAX_HEADER_CHARS = 512  # joserfc's own limit
_MAX_NAME_BYTES = 200  # what a ledger header has room for (ledger/entry.py): whoever is let in can be put on record
_ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_UNSPECIFIC_TYPES = frozenset({"jwt", ""})
_ID_TOKEN_CLAIMS = frozenset({"at_hash", "c_hash", "s_hash"})
_NEW_TOKEN = "Get a new access token from the issuer."  # noqa: S105  # advice, not a secret

Refusals = Callable[[Actor | None, str, str], Awaitable[None]]


class TokenVerifier:
    """Turns an access token (RFC 9068) into the actor it speaks for.

    `fetch` gets the issuer's metadata and keys; `clock` gives the time in UTC. Claims beside the standard ones:
    `tenant`, a string, and `roles`, a list of strings of which unknown ones are ignored. Raises `Final` for an issuer
    that is too long to be named in the ledger.
    """

    def __init__(
        self, issuer: str, audience: str, fetch: Fetch, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._authentication = f"oidc:{issuer}"
        if not _is_name(self._authentication):
            raise Final(
                "auth.issuer_too_long",
                f"The issuer's address has more than {_MAX_NAME_BYTES - len('oidc:')} bytes.",
                "Give the issuer a shorter address.",
            )
        self._issuer = issuer
        self._audience = audience
        self._keys = SigningKeys(issuer, fetch)
        self._clock = clock

    async def ready(self) -> None:
        """Raises `Unavailable` when no token could be checked now."""
        await self._keys.load(self._clock())

    async def verify(self, token: str) -> Actor:
        """Raises `Unauthenticated` with what is wrong and what to do, `Unavailable` when it cannot be known."""
        now = self._clock()
        header = _header(token)
        key = await self._keys.find(_kid(header), now)
        try:
            claims = jwt.decode(token, key, registry=_REGISTRY).claims
        except (JoseError, ValueError, TypeError):
            raise Unauthenticated(
                "auth.signature_invalid", "The token was not signed by its issuer, or was changed.", _NEW_TOKEN
            ) from None
        self._check_claims(claims, now)
        _check_purpose(header, claims)
        return self._actor(claims)

    def _check_claims(self, claims: dict[str, Any], now: datetime) -> None:
        registry = JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError:
            raise Unauthenticated("auth.token_expired", "The token has expired.", _NEW_TOKEN) from None
        except MissingClaimError:
            raise Unauthenticated(
                "auth.claim_missing", "The token lacks one of iss, aud, sub, exp and iat.", "Have the issuer add them."
            ) from None
        except InvalidClaimError as error:
            raise _wrong_claim(error.claim) from None

    def _actor(self, claims: Mapping[str, Any]) -> Actor:
        subject, tenant, names = claims["sub"], claims.get("tenant"), claims.get("roles")
        if not _is_name(subject):
            raise _wrong_claim("sub")
        if not _is_name(tenant):
            raise Unauthenticated(
                "auth.tenant_missing",
                "The token names no tenant.",
                "Have the issuer put the ministry's identifier into the claim `tenant`.",
            )
        known = {role.value: role for role in Role}
        listed = cast("list[object]", names) if isinstance(names, list) else []
        roles = frozenset(known[name] for name in listed if isinstance(name, str) and name in known)
        kind = ActorKind.SOURCE if roles == frozenset({Role.INTAKE}) else ActorKind.PERSON
        return Actor(kind=kind, subject=subject, tenant=tenant, roles=roles, authentication=self._authentication)


class RoleGate:
    """A FastAPI dependency: the actor of a request, when it has one of `roles` (any actor when there are none).

    Takes the `TokenVerifier` from `app.state.verifier`. What it refuses it reports to `app.state.refusals`, when
    that is set: an async callable of the actor (None when unknown), the error's code and `METHOD /route/{template}`.
    """

    def __init__(self, *roles: Role) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Actor:
        verifier: TokenVerifier = request.app.state.verifier
        actor: Actor | None = None
        try:
            actor = await verifier.verify(_bearer(request))
            if self.roles and not actor.has(*self.roles):
                raise self._missing_role()
        except (Unauthenticated, Refused) as error:
            await _report(request, actor, error)
            raise
        return actor

    def _missing_role(self) -> Refused:
        wanted = ", ".join(role.value for role in self.roles)
        return Refused(
            "auth.role_missing",
            f"This needs one of the roles {wanted}.",
            "Ask whoever administers roles at the issuer.",
        )


def require(*roles: Role) -> RoleGate:
    """`actor: Actor = Depends(require(Role.CLERK, Role.SUPERVISOR))`."""
    return RoleGate(*roles)


class _Algorithms(JWSRegistry):
    """The allow-list, and nothing else: joserfc's own warns of the name EdDSA, which issuers still use."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in ALGORITHMS:
            raise JoseError
        return self.algorithms[name]


_REGISTRY = _Algorithms(algorithms=ALGORITHMS)


def _header(token: str) -> dict[str, Any]:
    """The token's header, before any of it is believed; joserfc fails in other ways on one that is no object."""
    first = token.partition(".")[0]
    parsed: object = None
    if len(token) <= _MAX_TOKEN_CHARS and len(first) <= _MAX_HEADER_CHARS and token.count(".") == 2:
        try:
            parsed = json.loads(base64.b64decode(first + "=" * (-len(first) % 4), altchars=b"-_", validate=True))
        except ValueError:
            parsed = None
    if not isinstance(parsed, dict):
        raise Unauthenticated("auth.token_malformed", "The credential is not an access token (JWT).", _NEW_TOKEN)
    header = cast("dict[str, Any]", parsed)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Unauthenticated(
            "auth.algorithm_refused",
            f"Tokens are signed with one of {', '.join(sorted(ALGORITHMS))}; this one is not.",
            "Have the issuer sign access tokens with one of these.",
        )
    return header


def _kid(header: Mapping[str, Any]) -> str | None:
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def _check_purpose(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    """Refuse what the same issuer signed for another purpose: ID tokens, refresh and logout tokens."""
    kind = str(header.get("typ") or "").lower()
    if kind in _ACCESS_TOKEN_TYPES:
        return
    is_bearer = claims.get("typ", "Bearer") == "Bearer"  # Keycloak says in the claims what the header leaves open
    if kind not in _UNSPECIFIC_TYPES or not is_bearer or _ID_TOKEN_CLAIMS & claims.keys():
        raise Unauthenticated("auth.not_an_access_token", "This is no access token.", "Send the access token instead.")


def _wrong_claim(claim: str) -> Unauthenticated:
    code, message = {
        "iss": ("auth.issuer_wrong", "The token comes from another issuer."),
        "aud": ("auth.audience_wrong", "The token is meant for another service."),
        "nbf": ("auth.token_not_yet_valid", "The token is not valid yet."),
        "iat": ("auth.token_from_the_future", "The token was issued in the future."),
    }.get(claim, ("auth.claim_invalid", "A claim of the token is not what the standard says."))
    return Unauthenticated(code, message, f"{_NEW_TOKEN} If that does not help, compare clocks and settings with it.")


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isprintable() and 0 < len(value.encode()) <= _MAX_NAME_BYTES


def _bearer(request: Request) -> str:
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "auth.token_missing",
            "There is no access token with this request.",
            "Send the header Authorization: Bearer <access token>.",
        )
    return token.strip()


async def _report(request: Request, actor: Actor | None, error: DiwanError) -> None:
    """Have the refusal recorded. When that fails it is refused all the same, and the log says what is missing."""
    route = f"{request.method} {getattr(request.scope.get('route'), 'path', '')}"
    log.warning("auth.refused", code=error.code, route=route)
    record = cast("Refusals | None", getattr(request.app.state, "refusals", None))
    if record is None:
        return
    try:
        await record(actor, error.code, route)
    except Exception as failure:  # whatever it is, it must not turn a refusal into an admission or a crash
        log.error("auth.refusal.unrecorded", code=error.code, route=route, error=type(failure).__name__)
