"""What client and server say to each other: small JSON bodies over HTTP/1.1 on a local socket.

    POST /v1/keys        {"tenant", "scope"}              -> {"keys": {"decision": "<base64>" | null, ...}}
    POST /v1/pseudonyms  {"tenant", "purpose", "digest"}  -> {"pseudonym": "<64 hex digits>"}
    GET  /healthz, /readyz                                -> {"status": "ok"}

A key that is null was destroyed. Missing keys are made when the caller has the right to. An error is
{"error": "<class of domain/errors.py>", "code", "message", "remedy"} with the class's HTTP status.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints

from diwan.domain.ports import RetentionClass

MAX_BODY_BYTES = 8 * 1024

# Printable ASCII, no spaces: an empty scope or a NUL byte can never meet the tenant's own keys.
Name = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")]

Key = Annotated[Base64Bytes, Field(min_length=32, max_length=32)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KeysRequest(_Message):
    tenant: Name
    scope: Name


class KeysAnswer(_Message):
    keys: dict[RetentionClass, Key | None]

    def __repr__(self) -> str:
        return "KeysAnswer(…)"  # a key must not reach a log through a traceback or a debugger's line

    __str__ = __repr__


class PseudonymRequest(_Message):
    tenant: Name
    purpose: Name
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class PseudonymAnswer(_Message):
    pseudonym: str
