"""Owns deploy/settings.md, made from the settings themselves (`make settings`)."""

from __future__ import annotations

import sys
from types import NoneType
from typing import Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from diwan.settings import PREFIX, Settings, is_secret

_HEAD = """# Settings

Made from `diwan/settings.py` by `make settings`; a test holds that both agree.

Each setting is a variable. It may also stand in a TOML file (named by `DIWAN_CONFIG`, else `diwan.toml` in
`DIWAN_HOME`) under its name in small letters without `DIWAN_`; a variable counts over the file. A **secret** is better
given as a file: add `_FILE` to its name and give the path (`DIWAN_VAULT_TOKEN_FILE=/run/secrets/vault_token`). A stack
that `diwan up` runs writes its addresses into `run/stack.json` of its home; commands beside it need no setting at all.

`deploy/compose.yaml` shows which process needs which: each has its own role's database URL and its own vault token, no
other.
"""
_SECTIONS = (
    ("Client commands and logs", ("url", "token", "log_level")),
    ("Traces", ("trace", "otlp")),
    ("The process itself", ("host", "port", "health")),
    ("The embedded stack (`diwan up`)", ("home", "postgres_port", "temporal_port", "issuer_port", "engine_port")),
    ("Postgres", ("database",)),
    ("Temporal", ("temporal", "worker_versioning")),
    ("Vault", ("vault",)),
    ("The ledger", ("ledger", "signer", "witness")),
    ("Access tokens", ("issuer_url", "audience")),
    ("Models", ("engine", "pool", "registry", "agent")),
    ("Webhooks", ("webhook",)),
    ("Uploads", ("uploads",)),
    ("Legal dates", ("clock",)),
)


def reference() -> str:
    """The whole page. Raises ValueError when a setting belongs to no section."""
    left = dict(Settings.model_fields)
    parts = [_HEAD]
    for title, starts in _SECTIONS:
        names = [name for start in starts for name in left if name == start]
        names += [name for name in left if name.startswith(starts) and name not in names]
        parts.append(f"## {title}\n\n| variable | default | |\n|---|---|---|")
        parts.append("\n".join(_row(name, left.pop(name)) for name in names) + "\n")
    if left:
        raise ValueError(f"no section for {', '.join(left)}")
    return "\n".join(parts)


def _row(name: str, field: FieldInfo) -> str:
    notes = [field.description or "", _kind(name, field)]
    return f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {' '.join(note for note in notes if note)} |"


def _default(name: str, field: FieldInfo) -> str:
    if name == "home":
        return "`~/.local/share/diwan`; root: `/var/lib/diwan`"
    value = field.default
    if value is PydanticUndefined or value is None or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(name: str, field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Union or get_args(kind)[1:] == (NoneType,):
        kind = get_args(kind)[0]
    if kind is SecretStr or is_secret(name):
        return "Secret."
    if kind is bool:
        return "`true` or `false`."
    if get_origin(kind) is Literal:
        return "One of " + ", ".join(f"`{choice}`" for choice in get_args(kind)) + "."
    return ""


if __name__ == "__main__":
    sys.stdout.write(reference())
