"""Tools: what a model is told of them, and what a page looks like to it."""

from __future__ import annotations

import re

import pytest

from agents.examiner import EXAMINER
from agents.tools import PAGE_LIMIT, Tool, page_result
from diwan.domain.facts import PageText
from diwan.domain.text import Language


def page(text: str, second: str = "", agreement: float = 1.0, number: int = 1) -> PageText:
    return PageText(document="a", page=number, text=text, second_text=second, agreement=agreement)


@pytest.mark.parametrize("tool", EXAMINER.tools, ids=lambda tool: tool.name)
@pytest.mark.parametrize("language", Language)
def test_definitions_are_what_engines_take(tool: Tool, language: Language) -> None:
    definition = tool.definition(language)
    function = definition["function"]
    assert isinstance(function, dict)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(function["name"]))
    assert function["description"] == tool.description.in_(language)
    parameters = function["parameters"]
    assert isinstance(parameters, dict)
    assert parameters["type"] == "object"
    assert parameters["additionalProperties"] is False
    assert "title" not in str(parameters)


def test_names_on_the_wire_lead_back_to_tools() -> None:
    for tool in EXAMINER.tools:
        assert EXAMINER.tool(tool.wire_name) is tool
    assert EXAMINER.tool("documents.read_page") is None


def test_a_page_comes_with_its_place() -> None:
    assert page_result("d1", 2, page("two", number=2), pages=2) == {
        "document": "d1",
        "page": 2,
        "pages": 2,
        "text": "two",
    }


def test_a_page_that_is_not_there_says_so() -> None:
    assert page_result("d1", 3, None, pages=1) == {"error": "no_such_page"}
    assert page_result("d9", 1, None, pages=0) == {"error": "no_such_page"}


def test_the_second_reading_is_shown_where_the_two_disagree() -> None:
    assert "second_reading" not in page_result("d1", 1, page("قرار", "قرار", 0.95), pages=1)
    assert page_result("d1", 1, page("ترار", "قرار", 0.5), pages=1)["second_reading"] == "قرار"
    assert "second_reading" not in page_result("d1", 1, page("x", "", 0.0), pages=1)


def test_an_endless_page_is_cut_and_says_so() -> None:
    shown = page_result("d1", 1, page("x" * (PAGE_LIMIT + 1)), pages=1)
    assert shown["cut"] is True
    assert len(str(shown["text"])) == PAGE_LIMIT
