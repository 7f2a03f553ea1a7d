"""Who may call the vault: one bearer token a process role, and what that role may do.

The vault keeps digests of the tokens only; each caller reads its own token from a private file. Tokens are 256
random bits, so a plain SHA-256 of one cannot be searched.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from diwan.domain.errors import NeedsPerson
from diwan.vault import secretfile


class Caller(StrEnum):
    """Process roles. The auditor's is for tooling that reads; it can neither create nor change anything.

    The eraser's is a second token of the process that carries out approved erasures: it destroys, and reads no key.
    """

    WEB = "web"
    WORKER = "worker"
    POOL = "pool"
    AUDITOR = "auditor"
    ERASER = "eraser"


class Right(StrEnum):
    GET = "get"
    CREATE = "create"
    PSEUDONYM = "pseudonym"
    DESTROY = "destroy"


RIGHTS: Mapping[Caller, frozenset[Right]] = {
    Caller.WEB: frozenset({Right.GET, Right.CREATE, Right.PSEUDONYM}),
    Caller.WORKER: frozenset({Right.GET, Right.CREATE, Right.PSEUDONYM}),
    Caller.POOL: frozenset({Right.GET, Right.PSEUDONYM}),
    Caller.AUDITOR: frozenset({Right.GET, Right.PSEUDONYM}),
    Caller.ERASER: frozenset({Right.DESTROY}),
}

# A GPU host needs the tenant's own salt for its engine's prefix cache, and must not test guesses of names with it.
CACHE_SALT = "engine.cache_salt"
PURPOSES: Mapping[Caller, frozenset[str]] = {Caller.POOL: frozenset({CACHE_SALT})}


def may_name(caller: Caller, purpose: str) -> bool:
    """Whether a caller with the right to pseudonyms may have those of this purpose."""
    return caller not in PURPOSES or purpose in PURPOSES[caller]


TokenHashes = Mapping[Caller, str]
_FILE = TypeAdapter(dict[Caller, str])


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """SHA-256, hex, of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def identify(token: str, hashes: TokenHashes) -> Caller | None:
    """The role whose token this is; compares all, in constant time each."""
    presented = hash_of(token)
    matching = [caller for caller, expected in hashes.items() if hmac.compare_digest(presented, expected)]
    return matching[0] if matching else None


def write_hashes(path: Path, hashes: TokenHashes) -> None:
    secretfile.create(path, _file_of(hashes))


def replace_hashes(path: Path, hashes: TokenHashes) -> None:
    secretfile.replace(path, _file_of(hashes))


def load_hashes(path: Path) -> TokenHashes:
    """Raises `NotFound` or `NeedsPerson` when the file is missing, exposed or malformed."""
    try:
        hashes = _FILE.validate_json(secretfile.read(path))
    except ValidationError:
        raise _malformed(path) from None
    if not hashes or any(len(value) != 64 for value in hashes.values()):
        raise _malformed(path)
    return hashes


def read_token(path: Path) -> str:
    """A caller's own token. Raises `NotFound` or `NeedsPerson`."""
    token = secretfile.read(path).decode("ascii", "replace").strip()
    if not token:
        raise NeedsPerson("vault.token_empty", f"{path} holds no token.", "Write the caller's token into it.")
    return token


def _file_of(hashes: TokenHashes) -> bytes:
    return json.dumps({str(caller): value for caller, value in hashes.items()}).encode() + b"\n"


def _malformed(path: Path) -> NeedsPerson:
    return NeedsPerson(
        "vault.callers_malformed",
        f"{path} does not map caller roles to digests of tokens.",
        'It is JSON such as {"web": "<sha256 of the token, hex>"}.',
    )
