"""A test asserts something, by itself or through a helper of the tests, and runs: else it holds nothing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
# pytest's own ways to say that something must happen.
SAID = {"raises", "warns", "fail"}


def _asserts(function: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr in SAID)
        for node in ast.walk(function)
    )


def _called(function: ast.AST) -> set[str]:
    """Plain names only: a method that happens to be called like a helper of ours is none."""
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {called.id for called in calls if isinstance(called, ast.Name)}


def _silent(sources: dict[str, str]) -> list[str]:
    """Tests that assert nothing. A helper counts where it is of the same module or imported from another of these."""
    trees = {name: ast.parse(source) for name, source in sources.items()}
    functions: dict[str, dict[str, ast.AST]] = defaultdict(dict)
    imported: dict[str, dict[str, str]] = defaultdict(dict)
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[name][node.name] = node
            if isinstance(node, ast.ImportFrom) and node.module in trees:
                imported[name] |= {alias.asname or alias.name: node.module for alias in node.names}

    def proves(module: str, function: str, seen: frozenset[str] = frozenset()) -> bool:
        node = functions[module].get(function)
        if node is None:
            home = imported[module].get(function)
            return home is not None and proves(home, function, seen)
        called = _called(node) - seen - {function}
        return _asserts(node) or any(proves(module, each, seen | {function}) for each in called)

    return [
        f"{module}.{function}"
        for module in sorted(trees)
        for function in functions[module]
        if function.startswith("test_") and not proves(module, function)
    ]


def test_every_test_asserts() -> None:
    sources = {
        ".".join(path.relative_to(TESTS.parent).with_suffix("").parts): path.read_text()
        for path in sorted(TESTS.rglob("*.py"))
    }
    assert len(sources) > 100
    assert _silent(sources) == []


@pytest.mark.parametrize(
    ("body", "silent"),
    [
        ("def test_a():\n    run()", True),
        ("def test_a():\n    assert run()", False),
        ("def test_a():\n    with pytest.raises(ValueError):\n        run()", False),
        ("def check():\n    assert run()\ndef test_a():\n    check()", False),
        ("def outer():\n    check()\ndef check():\n    assert run()\ndef test_a():\n    outer()", False),
        ("def test_a():\n    helper()\nfrom tests.help import helper", False),
        ("def test_a():\n    tool.helper()\nfrom tests.help import helper", True),
        ("def test_a():\n    idle()\nfrom tests.help import idle", True),
        ("async def test_a():\n    await run()", True),
        ("def once():\n    once()\ndef test_a():\n    once()", True),
    ],
)
def test_the_rule_sees_what_it_forbids(body: str, silent: bool) -> None:
    sources = {"tests.help": "def helper():\n    assert run()\ndef idle():\n    run()", "tests.test_it": body}
    assert _silent(sources) == (["tests.test_it.test_a"] if silent else [])


def test_no_test_is_skipped() -> None:
    """What one machine cannot do is asserted on it in another way: nobody notices what is never run."""
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "importorskip", "xfail"}
    ]
    assert found == []
