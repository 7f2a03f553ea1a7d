"""Reads off the code who changes which table, who calls whom, and who writes a ledger entry; nothing is run.

Calls are followed by name: a bare one to the module it is imported from, `self.f` within its module, `module.f` to that
module. Who may call a method is asked widely (`anything.f` may be any method of that name), whom one calls narrowly
(then it is one only where no other method has that name): both err towards finding a change without its entry.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_SQL = re.compile(r"\b(?:(?:INSERT INTO|UPDATE|DELETE FROM)\s+([a-z_]+)\b|(diwan_[a-z_]+)\()")
_BUILT = ("insert", "update", "delete")
# `change_case` demands its entry, or that nothing was changed.
_ENTRIES = ("append_entry", "create_case", "change_case")


@dataclass
class Function:
    """What one does by itself: tables that it writes, names that it calls (where, what), whether it writes an entry."""

    writes: set[str] = field(default_factory=set[str])
    calls: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    entry: bool = False
    begins: bool = False


@dataclass
class Changes:
    """Functions by `module.name` or `module.Class.name`."""

    functions: dict[str, Function]
    callers: dict[str, set[str]]
    callees: dict[str, set[str]]

    def without_entry(self, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Where the ways up from a function end without an entry: who begins such a transaction, or is not called."""
        if self.reaches_entry(name) or name in seen:
            return set()
        above = self.callers[name]
        if self.functions[name].begins or not above:
            return {name}
        return set[str]().union(*(self.without_entry(each, seen | {name}) for each in above))

    def reaches_entry(self, name: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether it writes an entry, or calls what does."""
        if self.functions[name].entry:
            return True
        return any(self.reaches_entry(each, seen | {name}) for each in self.callees[name] - seen - {name})


def read(paths: Iterable[Path], tables: frozenset[str]) -> Changes:
    functions: dict[str, Function] = {}
    imported: dict[str, dict[str, str]] = {}
    for path in paths:
        reader = _Reader(path.stem, tables)
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        functions |= {name: each for name, each in reader.functions.items() if name not in functions}
        imported[path.stem] = reader.imported
    callers, callees = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    methods = defaultdict[str, set[str]](set)
    for name in functions:
        if name.count(".") > 1:
            methods[name.rpartition(".")[2]].add(name)
    for name, function in functions.items():
        for sure, target in _targets(name, function, functions, imported[name.partition(".")[0]], methods):
            callers[target].add(name)
            if sure:
                callees[name].add(target)
    return Changes(functions, callers, callees)


def _targets(
    name: str,
    function: Function,
    functions: dict[str, Function],
    imported: dict[str, str],
    methods: dict[str, set[str]],
) -> Iterable[tuple[bool, str]]:
    module = name.partition(".")[0]
    for on, called in function.calls:
        sure = on in ("", "self") or on in imported
        if on == "":
            found = {f"{module}.{called}", f"{imported.get(called, '')}.{called}"}
        elif on == "self":
            found = {each for each in methods.get(called, ()) if each.startswith(f"{module}.")}
        elif on in imported:
            found = {f"{on}.{called}", f"{imported[on]}.{called}"}
        else:
            found = methods.get(called, set())
            sure = len(found) == 1
        yield from ((sure, each) for each in found & functions.keys())


class _Reader(ast.NodeVisitor):
    def __init__(self, module: str, tables: frozenset[str]) -> None:
        self._tables = tables
        self._within = [module]
        self._constants: dict[str, set[str]] = {}
        self.functions: dict[str, Function] = {}
        self.imported: dict[str, str] = {}

    @property
    def _here(self) -> Function:
        return self.functions.setdefault(".".join(self._within), Function())

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for each in node.names:
            self.imported[each.asname or each.name] = (node.module or "").rpartition(".")[2]

    def _inside(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._within.append(node.name)
        # Whoever has a `Change` is within `change_case`, or was given it from there.
        self._here.entry = not isinstance(node, ast.ClassDef) and any(
            isinstance(given.annotation, ast.Name) and given.annotation.id == "Change" for given in node.args.args
        )
        self.generic_visit(node)
        self._within.pop()

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _inside

    def visit_Assign(self, node: ast.Assign) -> None:
        """A statement of a module's is its writer's who names it."""
        written = self._written(node.value)
        if len(self._within) == 1 and written:
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self._constants[target.id] = written
            return
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if len(self._within) > 1:
            self._here.calls.add(("constant", node.id))

    def visit_Constant(self, node: ast.Constant) -> None:
        if len(self._within) > 1:
            self._here.writes |= self._written(node)

    def visit_Call(self, node: ast.Call) -> None:
        on, called = _called(node.func)
        if called in _BUILT and node.args and isinstance(node.args[0], ast.Name):
            self._here.writes |= {node.args[0].id.removesuffix("_table")} & self._tables
        here = self._here
        here.calls.add((on, called))
        here.entry |= called in _ENTRIES
        here.begins |= called == "transaction" and not any(given.arg == "snapshot" for given in node.keywords)
        self.generic_visit(node)

    def visit_Module(self, node: ast.Module) -> None:
        self.generic_visit(node)
        for function in self.functions.values():
            for on, name in function.calls:
                if on == "constant":
                    function.writes |= self._constants.get(name, set())
            function.calls = {(on, name) for on, name in function.calls if on != "constant"}

    def _written(self, node: ast.AST) -> set[str]:
        said = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return {name for text in said for found in _SQL.findall(text) for name in found} & self._tables


def _called(function: ast.expr) -> tuple[str, str]:
    if isinstance(function, ast.Name):
        return "", function.id
    if isinstance(function, ast.Attribute):
        on = function.value
        if isinstance(on, ast.Attribute):  # change.conn.execute, self._db.transaction
            return on.attr, function.attr
        return (on.id if isinstance(on, ast.Name) else "?"), function.attr
    return "?", "?"
