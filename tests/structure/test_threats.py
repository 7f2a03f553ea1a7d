"""Every line of the threat model names tests, and they exist: what nobody shows is not claimed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
LINES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| who |")]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def named_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def unshown(line: str) -> list[str]:
    """What a line names that is not there; the line itself where it names nothing."""
    named = NAMED.findall(line.rpartition(" | ")[2])
    return [f"{path}::{name}" for path, name in named if name not in named_in(path)] if named else [line]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip())
def test_each_line_is_shown_by_tests_that_exist(line: str) -> None:
    assert unshown(line) == []


def test_the_page_says_what_it_must() -> None:
    assert len(LINES) >= 15
    for who in (
        "administrator",
        "operator",
        "signer's folder",
        "thief of a backup",
        "a witness that lies",
        "the two, and",
    ):
        assert any(who in line.split("|")[1] for line in LINES), who


def test_the_rule_sees_what_is_not_shown() -> None:
    assert unshown("| a | b | c | nothing |") == ["| a | b | c | nothing |"]
    assert unshown("| a | b | c | `tests/structure/test_threats.py::test_no_such` |")
