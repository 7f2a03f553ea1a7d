"""What the pages promise exists: commands, options, make targets, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand

from tests.cli.conftest import ROOT
from tests.cli.test_main import ALL, SERVERS

PAGES = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    "docs/adr/README.md",
)


OF_THE_SHELL = ("curl", "for")  # nothing of ours to compare with


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands_in(text: str) -> Iterator[str]:
    """Command lines in fenced and indented blocks, without their comments and prompts."""
    fenced = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    indented = re.findall(r"^    (diwan .*|make .*)$", text, re.MULTILINE)
    for block in [*fenced, *indented]:
        for line in block.replace("\\\n", " ").splitlines():
            yield re.split(r"\s{2,}#|\s# ", line)[0].strip()


LINES = sorted({(name, line) for name in PAGES for line in commands_in(page(name)) if line})


def command_of(words: list[str]) -> tuple[str, TyperCommand] | None:
    return next(((name, ALL[name]) for n in (2, 1) if (name := " ".join(words[1 : 1 + n])) in ALL), None)


@pytest.mark.parametrize(("name", "line"), LINES)
def test_each_command_line_of_a_page_can_be_typed(name: str, line: str) -> None:
    words = shlex.split(line)
    while re.match(r"[A-Z_]+=", words[0]):  # set for this command only
        words.pop(0)
    if words[0] in OF_THE_SHELL:
        return
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z]+):.*##", page("Makefile"), re.MULTILINE))
        assert set(words[1:]) <= targets
        return
    assert words[0] == "diwan", f"{name}: {line}"
    found = command_of(words)
    assert found is not None, f"{name}: no such command: {line}"
    known = {option for parameter in found[1].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    for word in words:
        if word.startswith("diwan/"):
            assert (ROOT / word).exists()


def test_the_readme_has_commands_to_type() -> None:
    assert sum(name == "README.md" for name, _ in LINES) >= 8


@pytest.mark.parametrize("name", PAGES)
def test_links_and_named_files_exist(name: str) -> None:
    text = page(name)
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    named = set(re.findall(r"\b(?:docs|deploy|tests|diwan|workflows)/[\w./-]+\.(?:md|py|yaml)\b", text))
    base = (ROOT / name).parent
    assert [link for link in links if link and not (base / link).exists()] == []
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", sorted(set(ALL) - SERVERS))
def test_the_page_of_commands_has_each_with_its_options(name: str) -> None:
    text = page("docs/cli.md")
    words = name.split()
    assert words[0] in text
    assert words[-1] in text
    missing = [o for p in ALL[name].params for o in p.opts if o.startswith("--") and o not in text and o != "--help"]
    assert missing == []


def test_every_decision_is_in_the_list() -> None:
    files = {path.name for path in Path(ROOT / "docs/adr").glob("0*.md")}
    assert files == set(re.findall(r"\((0[\w-]+\.md)\)", page("docs/adr/README.md")))


def test_the_readme_speaks_three_languages_and_says_what_the_demo_engine_is() -> None:
    text = page("README.md")
    assert "rules, not a language model" in text
    assert "En français" in text
    assert '<div dir="rtl">' in text
