"""Prompt files: found, versioned, and of the same make in the three languages."""

from __future__ import annotations

import re

import pytest

from agents.examiner import EXAMINER
from agents.registry import agent_names, spec_of
from agents.templates import Prompt, load_prompt
from diwan.domain.errors import NotFound
from diwan.domain.text import Language

# A published version is never edited: stored runs are read with its words. Other words are another version.
PUBLISHED = {
    ("dossier-examiner", "1"): {
        Language.AR: "e5a9cd9a67f7333049cc74a6c0a73fd58fd8165f294fb4627814261931171288",
        Language.FR: "f6e53bf13c98950801e6478e70d43da0cc47827ddb164f360957746dce85b2df",
        Language.EN: "4b58fc87a52e722254199bdc55c2cb7ed3a95a1d9ac2a9d8bf03dc42422ec512",
    },
}


def prompt(language: Language) -> Prompt:
    return load_prompt(EXAMINER.name, EXAMINER.prompts, language)


def test_every_agent_has_its_prompts_in_every_language() -> None:
    for name in agent_names():
        spec = spec_of(name)
        for language in Language:
            assert load_prompt(spec.name, spec.prompts, language).sections


@pytest.mark.parametrize("agent", sorted(agent_names()))
def test_the_words_of_a_published_version_stay(agent: str) -> None:
    spec = spec_of(agent)
    digests = {language: load_prompt(agent, spec.prompts, language).digest for language in Language}
    assert digests == PUBLISHED[agent, spec.prompts]


def test_an_unknown_agent_is_not_found() -> None:
    with pytest.raises(NotFound):
        spec_of("nobody")


def test_the_languages_have_the_same_sections_and_slots() -> None:
    english = prompt(Language.EN)
    for language in Language:
        other = prompt(language)
        assert list(other.sections) == list(english.sections)
        for section in english.sections:
            assert other.slots(section) == english.slots(section), (language, section)


def test_no_language_is_told_less() -> None:
    """Headings, numbered rules and machine names are the same in each; none is much shorter."""
    english = prompt(Language.EN)
    for language in Language:
        other = prompt(language)
        for section, text in english.sections.items():
            theirs = other.sections[section]
            assert _shape(theirs) == _shape(text), (language, section)
            assert 0.6 < len(theirs) / len(text) < 1.7, (language, section)


def _shape(text: str) -> tuple[list[str], list[str], list[str]]:
    names = sorted(re.findall(r"`[a-z_]+`", text))
    return re.findall(r"^#+|^\d\.", text, re.MULTILINE), names, re.findall(r"\{\{\w+\}\}", text)


@pytest.mark.parametrize("language", Language)
def test_every_language_says_that_documents_are_data_and_that_a_person_decides(language: Language) -> None:
    said = prompt(language).sections["system"]
    for words in {
        Language.AR: ("معطيات", "تعليمات", "أنت لا تقرر شيئا"),
        Language.FR: ("donnée", "consigne", "Vous ne décidez de rien"),
        Language.EN: ("data", "instruction", "You decide nothing"),
    }[language]:
        assert words in said


def test_what_is_filled_in_is_not_looked_at_for_slots() -> None:
    made = Prompt({"a": "{{x}} and {{y}}"}, "")
    assert made.text("a", x="{{y}}", y="1") == "{{y}} and 1"
