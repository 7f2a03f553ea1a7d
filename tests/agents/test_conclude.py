"""The evidence check: what an examiner claims against what stands in the dossier."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import pytest

from agents.claims import Why, coerce
from agents.conclude import Conclusion, conclude, declared_only
from agents.dossier import INSTRUCTION_SUSPECTED, SubmittedDocument
from agents.examiner import Examination
from diwan.domain.facts import Fact, PageText, Provenance
from diwan.procedures.parts import ValueType
from diwan.procedures.schema import Procedure
from tests.agents.support import housing

DAY = date(2026, 11, 23)
DOCUMENTS = [
    SubmittedDocument("id-card", 1, "identity_card"),
    SubmittedDocument("promise", 2, "sale_promise"),
    SubmittedDocument("permit", 1, "habitation_permit"),
    SubmittedDocument("ownership", 1, "non_ownership_certificate"),
]
PAGES = [
    PageText(document="id-card", page=1, text="CARTE NATIONALE\nCNIE : ZZ100001\nNationalité : marocaine"),
    PageText(document="promise", page=1, text="PROMESSE DE VENTE\nPrix : 350 000 DH\nPrix ancien : 1 350 000 DH"),
    PageText(document="promise", page=2, text="Première vente du logement : oui", second_text="3 pièces principales"),
    PageText(document="permit", page=1, text="PERMIS D'HABITER\nDélivré le 15 mars 2024\n4 pièces"),
    PageText(document="ownership", page=1, text="Le demandeur ne possède aucun logement.\nPrix : 350 000 DH"),
]
KINDS = {"d1": "identity_card", "d2": "sale_promise", "d3": "habitation_permit", "d4": "non_ownership_certificate"}


def claim(fact: str, value: object, document: str, quote: str, page: int = 1) -> dict[str, Any]:
    return {"fact": fact, "value": value, "evidence": {"document": document, "page": page, "quote": quote}}


PRICE = claim("price", 350000, "d2", "Prix : 350 000 DH")


def examination(
    *claims: dict[str, Any], kinds: dict[str, str] | None = None, codes: tuple[str, ...] = ()
) -> Examination:
    readings = [{"document": name, "piece": piece} for name, piece in (KINDS if kinds is None else kinds).items()]
    concerns = [{"code": code, "text": "…"} for code in codes]
    return Examination.model_validate({"documents": readings, "claims": claims, "concerns": concerns, "summary": "s"})


def concluded(
    made: Examination,
    *known: Fact,
    documents: list[SubmittedDocument] | None = None,
    procedure: Procedure | None = None,
) -> Conclusion:
    return conclude(
        procedure or housing(),
        made,
        DOCUMENTS if documents is None else documents,
        PAGES,
        known,
        as_of=DAY,
        established_by="dossier-examiner/1",
    )


def test_a_claim_that_holds_becomes_a_fact_with_its_evidence() -> None:
    conclusion = concluded(examination(PRICE))
    (fact,) = conclusion.facts
    assert (fact.name, fact.value, fact.provenance, fact.as_of) == ("price", 350000, Provenance.DOCUMENT, DAY)
    assert fact.established_by == "dossier-examiner/1"
    assert fact.evidence is not None
    assert (fact.evidence.document, fact.evidence.page, fact.evidence.quote) == ("promise", 1, "Prix : 350 000 DH")
    assert conclusion.rejected == []
    assert conclusion.warnings == []


def test_facts_are_typed_as_the_procedure_declares_them() -> None:
    conclusion = concluded(
        examination(
            claim("permit_date", "2024-03-15", "d3", "Délivré le 15 mars 2024"),
            claim("national", True, "d1", "Nationalité : marocaine"),
            claim("owns_dwelling", False, "d4", "ne possède aucun logement"),
            claim("rooms", "3", "d2", "3 pièces principales", page=2),
            claim("identity_number", "ZZ100001", "d1", "CNIE : ZZ100001"),
        )
    )
    assert {fact.name: fact.value for fact in conclusion.facts} == {
        "permit_date": date(2024, 3, 15),
        "national": True,
        "owns_dwelling": False,
        "rooms": 3,
        "identity_number": "ZZ100001",
    }


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (claim("price", 350000, "d2", "Prix : 350 001 DH"), Why.QUOTE_NOT_FOUND),
        (claim("price", 350000, "d2", "Prix : 350 000 DH", page=2), Why.QUOTE_NOT_FOUND),
        (claim("price", 350000, "d2", "Prix : 350 000 DH", page=9), Why.QUOTE_NOT_FOUND),
        (claim("price", 350000, "d2", "350 000 DH"), None),
        (claim("price", 350000, "d2", "ancien : 1 350 000 DH"), Why.VALUE_NOT_IN_QUOTE),
        (claim("price", 250000, "d2", "Prix : 350 000 DH"), Why.VALUE_NOT_IN_QUOTE),
        (claim("price", 350000, "d4", "Prix : 350 000 DH"), Why.WRONG_PIECE),
        (claim("price", 350000, "d7", "Prix : 350 000 DH"), Why.WRONG_PIECE),
        (claim("price", 350000, "d2", "350"), Why.QUOTE_TOO_SHORT),
        (claim("price", True, "d2", "Prix : 350 000 DH"), Why.WRONG_TYPE),
        (claim("price", "cher", "d2", "Prix : 350 000 DH"), Why.WRONG_TYPE),
        (claim("first_sale", 1, "d2", "Première vente du logement : oui", page=2), Why.WRONG_TYPE),
        (claim("first_sale", True, "d2", "oui", page=2), Why.QUOTE_TOO_SHORT),
        (claim("first_sale", True, "d2", "Première vente du logement : non", page=2), Why.QUOTE_NOT_FOUND),
        (claim("permit_date", "2024-03-16", "d3", "Délivré le 15 mars 2024"), Why.VALUE_NOT_IN_QUOTE),
        (claim("permit_date", "hier", "d3", "Délivré le 15 mars 2024"), Why.WRONG_TYPE),
        (claim("identity_number", "ZZ100002", "d1", "CNIE : ZZ100001"), Why.VALUE_NOT_IN_QUOTE),
    ],
)
def test_what_does_not_hold_is_rejected_by_name_and_establishes_nothing(bad: dict[str, Any], why: Why | None) -> None:
    conclusion = concluded(examination(bad))
    if why is None:
        assert conclusion.rejected == []
        return
    assert conclusion.facts == []
    assert [(each.fact, each.why) for each in conclusion.rejected] == [(bad["fact"], why)]
    assert conclusion.rejected_claims == [bad["fact"]]
    assert conclusion.warnings == [f"{why.value}.{bad['fact']}"]


def test_a_name_that_the_procedure_does_not_have_is_not_repeated() -> None:
    conclusion = concluded(examination(claim("Salma_BENNANI", 1, "d2", "Prix : 350 000 DH")))
    assert "BENNANI" not in conclusion.model_dump_json()
    assert [each.why for each in conclusion.rejected] == [Why.UNKNOWN_FACT]
    assert conclusion.rejected_claims == []


def test_a_fact_of_a_register_cannot_be_claimed_from_a_document() -> None:
    conclusion = concluded(examination(claim("earlier_aid", False, "d4", "ne possède aucun logement")))
    assert [each.why for each in conclusion.rejected] == [Why.UNKNOWN_FACT]


def test_claims_that_differ_cancel_out_and_a_person_looks() -> None:
    other = claim("price", 1350000, "d2", "Prix ancien : 1 350 000 DH")
    conclusion = concluded(examination(PRICE, other))
    assert conclusion.facts == []
    assert [(each.fact, each.why) for each in conclusion.rejected] == [("price", Why.VALUES_DIFFER)]
    assert conclusion.warnings == ["values_differ.price"]


def test_claims_that_agree_are_one_fact_from_the_preferred_piece() -> None:
    pages = [*PAGES, PageText(document="permit", page=2, text="Logement de 3 pièces")]
    made = examination(
        claim("rooms", 3, "d3", "Logement de 3 pièces", page=2), claim("rooms", 3, "d2", "3 pièces principales", page=2)
    )
    conclusion = conclude(housing(), made, DOCUMENTS, pages, [], as_of=DAY, established_by="x")
    assert [fact.evidence.document for fact in conclusion.facts if fact.evidence] == ["promise"]


def test_a_false_claim_beside_a_true_one_is_named_and_does_not_spoil_it() -> None:
    conclusion = concluded(examination(PRICE, claim("price", 1, "d2", "made up for the occasion")))
    assert [fact.value for fact in conclusion.facts] == [350000]
    assert conclusion.rejected_claims == ["price"]


def test_many_claims_on_long_pages_take_no_long_time() -> None:
    """Each page is folded once, not once a claim."""
    pages = [PageText(document="promise", page=1, text="Prix : 350 000 DH ثمن ZZ100001 " * 2_000)]
    began = time.process_time()
    made = examination(*[PRICE] * 120)
    conclude(housing(), made, DOCUMENTS, pages, [], as_of=DAY, established_by="x")
    assert time.process_time() - began < 3


def test_pieces_are_what_the_examiner_recognised_and_not_what_the_sender_says() -> None:
    conclusion = concluded(examination(kinds={"d1": "identity_card", "d2": "unknown", "d3": "sale_promise"}))
    assert conclusion.pieces == {"identity_card": "id-card", "sale_promise": "permit"}
    assert conclusion.warnings == [
        "piece_not_recognised.sale_promise",
        "piece_not_recognised.habitation_permit",
        "piece_not_recognised.non_ownership_certificate",
    ]


def test_a_document_or_piece_that_does_not_exist_is_ignored() -> None:
    assert concluded(examination(kinds={"d9": "identity_card", "d1": "passport"})).pieces == {}


def test_of_two_documents_of_one_piece_the_later_counts() -> None:
    documents = [*DOCUMENTS, SubmittedDocument("promise-2", 1, "sale_promise")]
    conclusion = concluded(examination(kinds={**KINDS, "d5": "sale_promise"}), documents=documents)
    assert conclusion.pieces["sale_promise"] == "promise-2"


def test_an_unreadable_document_is_no_piece_whatever_the_examiner_says() -> None:
    documents = [*DOCUMENTS[:3], SubmittedDocument("ownership", 1, "non_ownership_certificate", unreadable=True)]
    conclusion = concluded(examination(), documents=documents)
    assert "non_ownership_certificate" not in conclusion.pieces
    assert conclusion.unreadable == ["non_ownership_certificate"]
    assert conclusion.warnings == ["unreadable.non_ownership_certificate"]


def test_an_unreadable_document_that_was_sent_again_is_forgotten() -> None:
    documents = [
        *DOCUMENTS[:3],
        SubmittedDocument("scan", 1, "non_ownership_certificate", unreadable=True),
        SubmittedDocument("ownership", 1, "non_ownership_certificate"),
    ]
    kinds = {**KINDS, "d4": "non_ownership_certificate", "d5": "non_ownership_certificate"}
    conclusion = concluded(examination(kinds=kinds), documents=documents)
    assert conclusion.pieces["non_ownership_certificate"] == "ownership"
    assert conclusion.unreadable == []


def test_a_suspected_instruction_leaves_claims_and_warns() -> None:
    documents = [*DOCUMENTS]
    documents[1] = SubmittedDocument("promise", 2, "sale_promise", flags=(INSTRUCTION_SUSPECTED,))
    conclusion = concluded(examination(PRICE), documents=documents)
    assert [fact.name for fact in conclusion.facts] == ["price"]
    assert conclusion.warnings == ["instruction_suspected"]


def test_the_examiner_s_own_suspicion_warns_too_and_other_concerns_keep_their_names() -> None:
    made = examination(codes=("instruction_in_document", "expired", "expired"))
    assert concluded(made).warnings == ["instruction_suspected", "concern.expired"]


def test_what_a_document_shows_against_a_declaration_or_a_register_is_pointed_out() -> None:
    def fact(name: str, value: Any, provenance: Provenance) -> Fact:
        return Fact(name=name, value=value, provenance=provenance, as_of=DAY, established_by="form")

    made = examination(PRICE, claim("identity_number", "ZZ100001", "d1", "CNIE : ZZ100001"))
    conclusion = concluded(
        made,
        fact("price", 340000, Provenance.DECLARED),
        fact("identity_number", "zz 100001", Provenance.DECLARED),
        fact("rooms", 4, Provenance.DECLARED),
        fact("price", 360000, Provenance.REGISTRY),
    )
    assert conclusion.warnings == ["differs_from_declared.price", "differs_from_registry.price"]


def test_warnings_hold_no_text_of_the_dossier() -> None:
    made = examination(PRICE, claim("price", 1, "d2", "secret text"), codes=("other",))
    assert all(warning.replace(".", "").replace("_", "").isalnum() for warning in concluded(made).warnings)
    assert not any("secret" in warning for warning in concluded(made).warnings)


def test_without_an_agent_pieces_are_what_their_sender_says_and_nothing_is_shown() -> None:
    documents = [
        *DOCUMENTS[:2],
        SubmittedDocument("scan", 0, "habitation_permit", unreadable=True),
        SubmittedDocument("x", 1, "holiday_photo", flags=(INSTRUCTION_SUSPECTED,)),
    ]
    conclusion = declared_only(housing(), documents)
    assert conclusion.pieces == {"identity_card": "id-card", "sale_promise": "promise"}
    assert conclusion.unreadable == ["habitation_permit"]
    assert conclusion.facts == []
    assert conclusion.warnings == ["instruction_suspected", "unreadable.habitation_permit"]


@pytest.mark.parametrize(
    ("type_", "value", "typed"),
    [
        (ValueType.INTEGER, 3, 3),
        (ValueType.INTEGER, "350 000,00 DH", 350000),
        (ValueType.INTEGER, "3.5", None),
        (ValueType.INTEGER, False, None),
        (ValueType.BOOLEAN, False, False),
        (ValueType.BOOLEAN, 0, None),
        (ValueType.BOOLEAN, "true", None),
        (ValueType.DATE, "15 mars 2024", date(2024, 3, 15)),
        (ValueType.DATE, 20240315, None),
        (ValueType.TEXT, " Me X ", "Me X"),
        (ValueType.TEXT, "  ", None),
        (ValueType.TEXT, 12, None),
    ],
)
def test_values_are_read_as_their_type_or_not_at_all(type_: ValueType, value: Any, typed: object) -> None:
    coerced = coerce(type_, value)
    assert (type(coerced), coerced) == (type(typed), typed)
