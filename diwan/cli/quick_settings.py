"""Owns the three settings that client commands need: home, url, token, as diwan.settings reads them.

Loading all settings takes 0.5 s, longer than the rest of a client command. tests/cli/test_quick_settings.py holds
that both read the same from variables, the TOML file, secret files and what a running stack wrote down.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from diwan.domain.errors import InvalidInput

DEFAULT_URL = "http://127.0.0.1:8080"
_STACK_FILE = "run/stack.json"


def home() -> Path:
    """Where the embedded stack keeps its data."""
    given = os.environ.get("DIWAN_HOME")
    return (Path(given) if given else _default_home()).expanduser().absolute()


def url() -> str:
    """The service to speak to, without a slash at its end. Raises InvalidInput for what is no http address."""
    found = _setting("url") or DEFAULT_URL
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput("cli.url", "DIWAN_URL is not an address.", f"Set it to something like {DEFAULT_URL}.")
    return found.rstrip("/")


def token() -> str:
    """The access token given, or nothing. Raises InvalidInput for a token file that cannot be read."""
    return _setting("token", secret=True)


def _default_home() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/diwan")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "diwan"


def _setting(name: str, *, secret: bool = False) -> str:
    variable = os.environ.get(f"DIWAN_{name.upper()}")
    if variable:
        return variable
    file = os.environ.get(f"DIWAN_{name.upper()}_FILE") if secret else None
    if file:
        return _secret(Path(file))
    return _of(_config(), name, secret=secret) or _of(_stack(), name, secret=secret)


def _of(values: Mapping[str, Any], name: str, *, secret: bool) -> str:
    file = values.get(f"{name}_file") if secret else None
    return _secret(Path(str(file))) if file else str(values.get(name) or "")


def _config() -> Mapping[str, Any]:
    given = os.environ.get("DIWAN_CONFIG")
    path = Path(given) if given else home() / "diwan.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if given:
            raise InvalidInput(
                "settings.no_file", f"DIWAN_CONFIG: there is no file {given}.", "Check the path."
            ) from None
        return {}
    except (OSError, ValueError):
        raise InvalidInput("settings.unreadable", f"{path} cannot be read as TOML.", "Check it.") from None


def _stack() -> Mapping[str, Any]:
    try:
        found = json.loads((home() / _STACK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            "settings.secret_unreadable",
            f"{path}, named as the token's file, cannot be read.",
            "Check its owner and mode.",
        ) from None
