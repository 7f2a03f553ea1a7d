"""Client side of the demo issuer: an access token for a demo user of the embedded stack on this machine.

Light on purpose: client commands load it, and they must answer at once. issuer_app.py is the issuer itself.
"""

from __future__ import annotations

import base64
import http.client
import json
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from diwan.domain.errors import DiwanError, NotFound, Unauthenticated, Unavailable
from diwan.vault import secretfile

FOLDER = "issuer"  # under DIWAN_HOME
_CLIENTS = "clients.json"
_TIMEOUT_S = 5


def fetch_token(home: Path, role: str) -> str:
    """Access token of the demo user of `role` (`clerk`, `clerk-2`, …) from the stack that runs on `home`.

    Raises `Unavailable` when none runs, `Unauthenticated` for a user that there is not.
    """
    try:
        stack = json.loads((home / "run" / "stack.json").read_text(encoding="utf-8"))
        url = str(stack["issuer_url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise _not_running() from None
    client = f"demo-{role}"
    return request_token(url, client, read_secrets(home / FOLDER).get(client, ""))


def request_token(issuer_url: str, client: str, secret: str) -> str:
    """Access token by the client credentials grant (RFC 6749, 4.4).

    Raises `Unauthenticated` when the issuer does not know the pair, `Unavailable` when it does not answer.
    """
    parts = urlsplit(issuer_url)
    credentials = base64.b64encode(f"{client}:{secret}".encode()).decode()
    headers = {"authorization": f"Basic {credentials}", "content-type": "application/x-www-form-urlencoded"}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/token", urlencode({"grant_type": "client_credentials"}), headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException):
        raise _not_running() from None
    finally:
        connection.close()
    return _token_in(answer.status, content)


def read_secrets(folder: Path) -> dict[str, str]:
    """Secret of each demo user, by client id. Raises `Unavailable` before the issuer was first started."""
    try:
        content = secretfile.read(folder / _CLIENTS)
    except NotFound:
        raise _not_running() from None
    return cast("dict[str, str]", json.loads(content))


def write_secrets(folder: Path, secrets: dict[str, str]) -> None:
    """Once; raises `Conflict` when there are secrets already."""
    secretfile.create(folder / _CLIENTS, json.dumps(secrets, indent=1).encode() + b"\n")


def _token_in(status: int, content: bytes) -> str:
    try:
        answer: dict[str, Any] = json.loads(content)
        if status == http.client.OK:
            return str(answer["access_token"])
        known = answer.get("error") == "invalid_client"
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if known:
        raise Unauthenticated(
            "issuer.client_unknown", "The demo issuer has no such user.", "Use the name of a role, such as clerk."
        )
    raise Unavailable("issuer.answer_unexpected", "What answers at the issuer's address is no issuer.", "Restart it.")


def _not_running() -> DiwanError:
    return Unavailable(
        "issuer.not_running", "The embedded stack's issuer does not answer.", "Start the stack: diwan up."
    )
