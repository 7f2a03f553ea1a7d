"""What is replayed or pure never asks for the time or for randomness (docs/adr/0001-layers.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PURE = ("workflows", "agents", "diwan/procedures", "diwan/ledger", "diwan/domain")
BANNED_CALLS = {
    "now",
    "utcnow",
    "today",
    "time",
    "time_ns",
    "monotonic",
    "perf_counter",
    "uuid4",
    "uuid1",
    "token_hex",
    "token_bytes",
    "urandom",
    "randint",
    "random",
}
# workflow.now() and workflow.time() are the replayed clock.
REPLAYED = {"workflow"}

FILES = sorted(path for folder in PURE for path in (ROOT / folder).rglob("*.py"))


def _banned(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in BANNED_CALLS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in REPLAYED:
                continue
            found.append(f"line {node.lineno}: .{node.func.attr}()")
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "uuid"}:
            found += [f"line {node.lineno}: import {each.name}" for each in node.names if each.name in BANNED_CALLS]
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [
                f"line {node.lineno}: import {name}"
                for name in names
                if name.split(".")[0] in {"random", "secrets", "time", "socket"}
            ]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_clock_and_no_randomness(path: Path) -> None:
    assert _banned(ast.parse(path.read_text())) == []


def test_the_rule_sees_what_it_bans() -> None:
    planted = "import random\nfrom datetime import datetime\ndatetime.now()"
    assert sorted(_banned(ast.parse(planted))) == ["line 1: import random", "line 3: .now()"]
    assert _banned(ast.parse("from os import urandom\nfrom uuid import uuid4")) == [
        "line 1: import urandom",
        "line 2: import uuid4",
    ]
    assert _banned(ast.parse("workflow.now()")) == []
