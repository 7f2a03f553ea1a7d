"""YAML as procedures use it, read without surprises: plain values, a line for everything, small and flat.

Refused with the line: anchors, aliases and tags (a few bytes can grow to gigabytes), a key twice, deep nesting,
several documents. Scalars follow YAML 1.2's core schema, so `on`, `no` and `2023-01-01` stay text.
"""

from __future__ import annotations

import re

import yaml

from diwan.domain.errors import InvalidInput, TooLarge
from diwan.procedures.findings import Path, dotted

MAX_BYTES = 512 * 1024
MAX_DEPTH = 24
_MAX_NODES = 50_000
_MAX_DIGITS = 15

Plain = None | bool | int | str | list["Plain"] | dict[str, "Plain"]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_WORDS: dict[str, Plain] = {"": None, "~": None, "null": None, "true": True, "false": False}


def read(text: str) -> tuple[Plain, dict[Path, int]]:
    """The document and the line (from 1) of every path in it.

    Raises `InvalidInput` (`procedure.yaml`) naming the line, `TooLarge` beyond 512 KiB.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise TooLarge("procedure.too_large", f"A procedure file has at most {MAX_BYTES // 1024} KiB.", "Split it.")
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _invalid(mark.line + 1 if mark else 0, f"not valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _invalid(line, "a character that YAML does not allow", "Remove control characters.") from None
    lines: dict[Path, int] = {}
    return (None if node is None else _value(node, (), lines)), lines


def _invalid(line: int, problem: str, remedy: str = "") -> InvalidInput:
    where = f"line {line}: " if line else ""
    return InvalidInput("procedure.yaml", f"{where}{problem}.", remedy)


def _check_events(text: str) -> None:
    """Walk the parser's events, which never nest or expand, before anything is built from them."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _invalid(line, "anchors and aliases are not allowed", "Write the value out where it is needed.")
        if getattr(event, "tag", None):
            raise _invalid(line, "tags are not allowed", "Remove the `!…`.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH or nodes > _MAX_NODES:
            raise _invalid(line, "nested too deeply or too many values", "A procedure needs neither.")


def _value(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Plain:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines)
    return _scalar(node, path)


def _mapping(node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Plain]:
    out: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise _invalid(line, "a key has to be a word")
        key = str(key_node.value)
        if key in out:
            raise _invalid(line, f"`{dotted((*path, key))}` stands here for the second time", "Keep one of them.")
        lines[(*path, key)] = line
        out[key] = _value(value_node, (*path, key), lines)
    return out


def _scalar(node: yaml.Node, path: Path) -> Plain:
    text = str(node.value)
    if getattr(node, "style", None) is not None:  # quoted or a block: always text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise _invalid(
                node.start_mark.line + 1, f"`{dotted(path)}` is too large a number", "Quote it if it is text."
            )
        return int(text)
    return text
