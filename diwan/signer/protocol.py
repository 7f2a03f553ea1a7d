"""What client and signer say to each other: small JSON bodies over HTTP/1.1 on a local socket.

    POST /v1/checkpoints  {"origin", "size", "root", "proof"}  -> {"note": "<the signed checkpoint>"}
    POST /v1/last         {"origin"}                           -> {"note": "…" | null}
    GET  /v1/keys             -> {"keys": ["<vkey>", …], "retired": ["<vkey>", …]}, the oldest first
    GET  /healthz, /readyz                                     -> {"status": "ok"}

Hashes are hex. All but /healthz and /readyz want the bearer token. Errors are those of diwan/local/exchange.py.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from diwan.ledger.tree import MAX_SIZE

MAX_BODY_BYTES = 16 * 1024
_MAX_HASHES = 64

Origin = Annotated[str, Field(pattern=r"^[^\s+\x00-\x1f\x7f]{1,200}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SignRequest(_Message):
    """`proof` shows the tree that was signed last to be the beginning of this one."""

    origin: Origin
    size: Annotated[int, Field(ge=0, le=MAX_SIZE)]
    root: Hash
    proof: Annotated[tuple[Hash, ...], Field(max_length=_MAX_HASHES)] = ()


class LastRequest(_Message):
    origin: Origin


class NoteAnswer(_Message):
    note: str | None


class KeysAnswer(_Message):
    """`keys` sign now, one for each log; `retired` signed before and were exchanged."""

    keys: tuple[str, ...]
    retired: tuple[str, ...]
