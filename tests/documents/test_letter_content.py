"""What a letter says: for every result, in plain words, and no more than is so."""

from __future__ import annotations

from typing import Any

import pytest

from diwan.documents.compose import Letter, compose
from diwan.documents.content import (
    AgentPart,
    AskedPiece,
    Contest,
    Digits,
    Piece,
    Remedy,
    WhyAsked,
)
from diwan.documents.phrases import plain
from diwan.documents.readback import missing_from, text_of
from diwan.documents.typeset import typeset
from diwan.domain.case import Result
from diwan.domain.text import Language
from tests.documents.letters import letter


@pytest.mark.parametrize("result", Result)
@pytest.mark.parametrize("language", Language)
def test_every_result_has_its_decision(result: Result, language: Language) -> None:
    content = letter("decision", language, result=result, amount=None)
    assert compose(content).title
    assert typeset(content).startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("agent", "says", "never"),
    [
        (None, "Aucun agent logiciel n’a contribué", "modèle «"),
        (AgentPart(model="mistral-small"), "fonctionnant avec le modèle « mistral-small »", "démonstration"),
        (AgentPart(model="demo", rules_only=True), "et non un modèle de langage", "avec le modèle «"),
        (AgentPart(model="m", edited=True), "Une personne l’a corrigée et une autre", "Un instructeur l’a vérifiée"),
    ],
)
def test_the_agents_part_is_told_in_plain_words(agent: AgentPart | None, says: str, never: str) -> None:
    text = " ".join(text_of(typeset(letter("decision", Language.FR, agent=agent))).split())
    assert says in text
    assert never not in text


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "أرفقت بالطلب جميع الوثائق المطلوبة"),
        (1, "الوثيقة التالية:"),
        (2, "الوثيقتين التاليتين:"),
        (3, "وعددها 3:"),
        (11, "وعددها 11:"),
        (100, "وعددها 100:"),
    ],
)
def test_arabic_counts_take_their_form(count: int, words: str) -> None:
    content = letter("receipt", Language.AR, missing=(Piece(label="وثيقة"),) * count)
    assert any(words in text for text in compose(content).texts())


@pytest.mark.parametrize("language", Language)
def test_a_receipt_claims_nothing_about_documents_that_nobody_named(language: Language) -> None:
    content = letter("receipt", language, unnamed=3, missing=None)
    assert missing_from(typeset(content), content) == []
    texts = " ".join(compose(content).texts())
    complete = plain(language, "receipt.missing.zero")
    assert complete not in texts
    assert complete in " ".join(compose(letter("receipt", language, missing=())).texts())
    if language is Language.FR:
        assert "5 pièces ont été reçues" in texts
        assert "3 documents sans intitulé" in texts


def test_the_procedures_own_words_on_contesting_take_the_place_of_ours() -> None:
    own = Remedy(to="le tribunal", days=60, text="Un recours peut être formé dans les 60 jours.")
    content = letter("decision", Language.FR, contest=Contest(administrative=own, court=own))
    texts = compose(content).texts()
    assert "Recours contentieux, devant le tribunal. Un recours peut être formé dans les 60 jours." in texts


def test_a_request_says_what_why_until_when_and_what_then() -> None:
    asked = (AskedPiece(label="Acte", why=WhyAsked.NOT_ACCEPTED, note="page 2 absente"),)
    text = " ".join(
        text_of(typeset(letter("request_for_pieces", Language.FR, pieces=asked, how=("au guichet",)))).split()
    )
    for said in (
        "sans la pièce suivante :",
        "Acte — document reçu non conforme à ce qui est demandé — page 2 absente",
        "au plus tard le 23 décembre 2026",
        "au guichet",
        "suspendu à compter du 23 novembre 2026",
        "demandées qu’une seule fois",
        "peut être déclarée irrecevable",
    ):
        assert said in text


def test_digits_are_the_offices_choice_and_identifiers_keep_theirs() -> None:
    content = letter("decision", Language.AR, digits=Digits.ARABIC_INDIC)
    text = text_of(typeset(content))
    assert "٦٥٠.٠٠٠" in text
    assert "١٤ نونبر ٢٠٢٢" in text
    assert "صفحة ١ من" in text
    assert "DW-2026-000142" in text


def kinds_of(content: Letter) -> list[Any]:
    return [block.kind for block in compose(content).blocks]


def test_a_receipt_without_a_legal_period_claims_none() -> None:
    content = letter("receipt", Language.FR, decision_due_on=None)
    texts = compose(content).texts()
    assert any("ne fixe pas de délai légal" in text for text in texts)
    assert not any("vaut décision implicite" in text for text in texts)
    assert "list" in kinds_of(content)
