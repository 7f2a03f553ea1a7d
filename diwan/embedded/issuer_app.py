"""The demo issuer: OIDC discovery, keys, and client-credentials tokens for invented users, one for each role.

It stands for the ministry's own identity provider and knows no people: whoever can read its secrets on this
machine can be any demo user. So it listens on loopback only and says what it is wherever it shows.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

import structlog
import uvicorn
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from diwan.domain.actor import Role
from diwan.domain.errors import Conflict, Unavailable
from diwan.embedded import issuer
from diwan.embedded.issuer_tokens import LIFETIME, key_in, make_token, public_keys

log = structlog.get_logger()

NOTICE = "Diwan's demo issuer: invented users, for trying out on one machine. Never for real cases."
TENANT = "demo"
DEMO_USERS: Mapping[str, Role] = {**{f"demo-{role.value}": role for role in Role}, "demo-clerk-2": Role.CLERK}
_MAX_FORM_BYTES = 8 * 1024


def open_issuer(folder: Path, url: str) -> Starlette:
    """The application on the key and secrets in `folder`, which are made at the first start."""
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        known = issuer.read_secrets(folder)
    except Unavailable:
        known = {client: secrets.token_urlsafe(24) for client in DEMO_USERS}
        issuer.write_secrets(folder, known)
    return create_app(url, key_in(folder / "key.json"), known)


def create_app(
    url: str, key: ECKey, known: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Starlette:
    """The application: `url` is the issuer's identifier and base address, `known` maps client ids to secrets."""
    demo = _DemoIssuer(url, key, known, clock)
    return Starlette(
        routes=[
            Route("/", demo.home, methods=["GET"]),
            Route("/.well-known/openid-configuration", demo.metadata, methods=["GET"]),
            Route("/jwks", demo.keys, methods=["GET"]),
            Route("/token", demo.token, methods=["POST"]),
        ]
    )


def serve(folder: Path, url: str, port: int) -> None:
    """Run the issuer on 127.0.0.1:`port` until the process is told to stop. Raises `Conflict` for a taken port."""
    app = open_issuer(folder, url)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            raise Conflict(
                "issuer.port_taken", f"Port {port} of 127.0.0.1 is taken.", "Choose another for the issuer."
            ) from None
        log.warning("issuer.started", url=url, notice=NOTICE)
        config = uvicorn.Config(app, access_log=False, log_config=None, server_header=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


class _DemoIssuer:
    """Handlers."""

    def __init__(self, url: str, key: ECKey, known: Mapping[str, str], clock: Callable[[], datetime]) -> None:
        self._url = url
        self._key = key
        self._known = known
        self._clock = clock

    async def home(self, _: Request) -> Response:
        users = "\n".join(f"  {client}" for client in sorted(self._known))
        return PlainTextResponse(
            f"{NOTICE}\n\nUsers, all of tenant {TENANT}:\n{users}\n\nA token: diwan token --as ROLE\n"
        )

    async def metadata(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self._url,
                "token_endpoint": f"{self._url}/token",
                "jwks_uri": f"{self._url}/jwks",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "diwan_demo": NOTICE,
            }
        )

    async def keys(self, _: Request) -> Response:
        return JSONResponse({**public_keys(self._key), "diwan_demo": NOTICE})

    async def token(self, request: Request) -> Response:
        """RFC 6749, 4.4 and 5: errors are its codes, nothing is to be cached."""
        form = await _form(request)
        if form is None:
            return _error(400, "invalid_request", "The body is not a form, or repeats a field.")
        client, secret = _credentials(request, form)
        expected = self._known.get(client, "")
        role = DEMO_USERS.get(client)
        if role is None or not expected or not hmac.compare_digest(secret.encode(), expected.encode()):
            log.warning("issuer.client.refused")
            return _error(401, "invalid_client", "No such client, or another secret.")
        if form.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type", "Only client_credentials.")
        token = make_token(self._key, self._url, client, TENANT, [role.value], now=self._clock(), diwan_demo=NOTICE)
        expires = int(LIFETIME.total_seconds())
        return _answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": expires})


async def _form(request: Request) -> dict[str, str] | None:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MAX_FORM_BYTES:
            return None
    try:
        fields = parse_qs(content.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    if any(len(values) > 1 for values in fields.values()):
        return None
    return {name: values[0] for name, values in fields.items()}


def _credentials(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    """Client id and secret from the header (RFC 6749, 2.3.1: form-encoded before base64), else from the form."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return unquote_plus(client), unquote_plus(secret)


def _error(status: int, code: str, description: str) -> Response:
    return _answer(status, {"error": code, "error_description": description})


def _answer(status: int, content: Mapping[str, object]) -> Response:
    headers = {"cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = 'Basic realm="diwan-demo"'
    return JSONResponse({**content, "diwan_demo": NOTICE}, status, headers=headers)
