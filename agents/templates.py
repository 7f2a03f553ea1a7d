"""Prompt files: `prompts/<agent>/<version>/<language>.md`, one section per top-level heading, found as resources.

A published version is never edited: a new one gets a new folder, so a stored run can always be read with its words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from diwan.domain.text import Language

_HEADING = re.compile(r"^# ([a-z_]+)$", re.MULTILINE)
_SLOT = re.compile(r"\{\{([a-z_]+)\}\}")


@dataclass(frozen=True)
class Prompt:
    """`digest` is the SHA-256 (hex) of the file."""

    sections: Mapping[str, str]
    digest: str

    def text(self, section: str, **slots: str) -> str:
        """The section with its `{{slots}}` filled, each once; what is filled in is never looked at for slots."""
        return _SLOT.sub(lambda match: slots[match[1]], self.sections[section])

    def slots(self, section: str) -> frozenset[str]:
        return frozenset(_SLOT.findall(self.sections[section]))


@cache
def load_prompt(agent: str, version: str, language: Language) -> Prompt:
    """The prompt file of an agent in a language. Raises FileNotFoundError where there is none: a packaging fault."""
    data = files("agents").joinpath("prompts", agent, version, f"{language.value}.md").read_bytes()
    parts = _HEADING.split(data.decode("utf-8"))
    names, bodies = parts[1::2], parts[2::2]
    return Prompt(dict(zip(names, (body.strip() for body in bodies), strict=True)), hashlib.sha256(data).hexdigest())
