"""The demo engine as the pool's registry has it: one model, which is rules and says so."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agents.examiner import EXAMINER
from diwan.domain.text import Language
from diwan.embedded import demo_engine
from diwan.embedded.demo_engine.app import CONTEXT_LENGTH, MODEL, VERSION
from diwan.pool.registry import Model, Registry


def demo_registry() -> Registry:
    """Its "weights" are the files of its rules: their digest changes when they do."""
    model = Model(
        name=MODEL,
        family="fixed rules, not a language model",
        weights_digest=_digest(Path(demo_engine.__file__).parent),
        engine=VERSION,
        licence="Apache-2.0",
        languages=frozenset(Language),
        context_length=CONTEXT_LENGTH,
    )
    return Registry(models=(model,), capabilities={EXAMINER.capability: (MODEL,)})


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".py", ".yaml")):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
