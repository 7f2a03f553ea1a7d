"""`diwan token`: an access token of the embedded stack's issuer, for curl and for programs that are tried out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from diwan.cli import credentials
from diwan.cli.credentials import AsRole
from diwan.cli.output import Output, emit


def register(app: typer.Typer) -> None:
    app.command("token")(token)


def token(
    role: Annotated[AsRole, typer.Option("--as", help="The demo user whose token it is.")],
    output: Annotated[Output, typer.Option("--output", help="A table is the bare token.")] = Output.TABLE,
) -> None:
    """Print an access token of the embedded stack's issuer (demo users only).

    For example: curl -H "Authorization: Bearer $(diwan token --as clerk)" http://127.0.0.1:8080/v1/tasks
    """
    value = credentials.embedded_token(role)
    if output is Output.TABLE:
        sys.stdout.write(f"{value}\n")
        return
    emit(output, {"role": role.value, "access_token": value, "token_type": "Bearer"}, lambda width: "")
