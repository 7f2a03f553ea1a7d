"""Owns where a client command's access token comes from.

In this order: `--as ROLE` (the embedded stack's issuer), DIWAN_TOKEN or DIWAN_TOKEN_FILE, and, for a service on this
very machine, the role that the command is usually run as. A token is a secret: only `diwan token` prints one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from diwan.cli import quick_settings
from diwan.cli.client import Client, is_loopback
from diwan.domain.errors import Unauthenticated


class AsRole(StrEnum):
    """The embedded stack's demo users: one for each role, and a second clerk, since two have to agree at times."""

    INTAKE = "intake"
    CLERK = "clerk"
    CLERK_2 = "clerk-2"
    SUPERVISOR = "supervisor"
    AUTHORITY = "authority"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    OPERATOR = "operator"


AsOption = Annotated[
    AsRole | None,
    typer.Option("--as", help="Act as this demo user of the embedded stack.", show_default=False),
]
PurposeOption = Annotated[
    str,
    typer.Option(
        "--purpose", metavar="WORD", help="What an auditor reads it for: a word or a file's number, on the ledger."
    ),
]


def connect(role: AsRole | None, usual: AsRole, *, purpose: str = "") -> Client:
    """A client of the service at DIWAN_URL that acts as `role`, else by the token given, else as `usual`; an auditor's
    reads say what they are for."""
    url = quick_settings.url()
    return Client(url, token_source(role, usual, url), purpose=purpose)


def token_source(role: AsRole | None, usual: AsRole, url: str) -> Callable[[], str]:
    """How to get the token when it is needed. Calling it raises Unauthenticated or Unavailable."""
    if role is not None:
        return lambda: embedded_token(role)
    given = quick_settings.token()
    if given:
        return lambda: given
    if is_loopback(url):
        return lambda: embedded_token(usual)
    return _no_token


def embedded_token(role: AsRole) -> str:
    """An access token of the embedded stack's issuer. Raises Unavailable when the stack does not run."""
    from diwan.embedded.issuer import fetch_token

    return fetch_token(quick_settings.home(), role.value)


def _no_token() -> str:
    raise Unauthenticated(
        "cli.no_token",
        "No access token was given.",
        "Set DIWAN_TOKEN or DIWAN_TOKEN_FILE to one of your issuer's, or --as ROLE for an embedded stack.",
    )
