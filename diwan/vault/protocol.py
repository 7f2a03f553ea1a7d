"""What client and server say to each other: small JSON bodies over HTTP/1.1 on a local socket.

    POST /v1/keys          {"tenant", "scope"}                      -> {"keys": {"decision": "<base64>" | null, ...},
                                                                        "generation": 7}
    GET  /v1/generation                                             -> {"generation": 7}
    GET  /v1/epochs                                                 -> {"epochs": [{"name", "begun_at", "retired_at"}]}
    POST /v1/pseudonyms    {"tenant", "purpose", "digest"}          -> {"pseudonym": "<64 hex digits>"}
    POST /v1/destructions  {"tenant", "scope", "classes", "order"}  -> {"destroyed": {"exchange": "<when>", ...}}
    GET  /healthz, /readyz                                          -> {"status": "ok"}

A key that is null was destroyed. Missing keys are made when the caller has the right to. The generation is another
after every destruction: keys that a caller holds from before may be stale. An order is the hash of the ledger entry
that asks for it. An epoch is a key-encryption key, by its name; `retired_at` is null while it is there. An error is
{"error": "<class of domain/errors.py>", "code", "message", "remedy"} with the class's HTTP status.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints

from diwan.domain.ports import KeyEpoch, RetentionClass

MAX_BODY_BYTES = 8 * 1024

# Printable ASCII, no spaces: an empty scope or a NUL byte can never meet the tenant's own keys.
Name = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")]

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

Key = Annotated[Base64Bytes, Field(min_length=32, max_length=32)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KeysRequest(_Message):
    tenant: Name
    scope: Name


class KeysAnswer(_Message):
    keys: dict[RetentionClass, Key | None]
    generation: int

    def __repr__(self) -> str:
        return "KeysAnswer(…)"  # a key must not reach a log through a traceback or a debugger's line

    __str__ = __repr__


class PseudonymRequest(_Message):
    tenant: Name
    purpose: Name
    digest: Digest


class PseudonymAnswer(_Message):
    pseudonym: str


class GenerationAnswer(_Message):
    generation: int


class EpochsAnswer(_Message):
    epochs: tuple[KeyEpoch, ...]


class DestructionRequest(_Message):
    tenant: Name
    scope: Name
    classes: Annotated[frozenset[RetentionClass], Field(min_length=1)]
    order: Digest


class DestructionAnswer(_Message):
    destroyed: dict[RetentionClass, AwareDatetime]
