"""A letter's verification sheet: a decoder that is not ours reads its code back, from a valid page of each language."""

from __future__ import annotations

import dataclasses

import pypdfium2
import pypdfium2.raw as pdfium_c
import pytest
import zxingcpp

from diwan.documents.check_sheet import sheet_of
from diwan.documents.qr import modules_of, svg_of
from diwan.documents.readback import text_of
from diwan.documents.typeset import typeset, typeset_sheet
from diwan.domain.errors import Final
from diwan.domain.fold import fold
from diwan.domain.text import Language
from diwan.ledger.receipt import find_receipt, pack
from tests.documents.letters import letter
from tests.ledger import receipts
from tests.ledger.receipts import issued, witness

AT = "https://verifier.logement.example"
WITNESS = witness("witness.example/one")


def codes(pdf: bytes, *, scale: int) -> list[str]:
    with pypdfium2.PdfDocument(pdf) as document:
        assert len(document) >= 1
        found = zxingcpp.read_barcodes(document[0].render(scale=scale).to_pil())
    return [each.text for each in found]


def plain(text: str) -> str:
    return "".join(char for char in fold(text) if char.isalnum() and not char.isascii())


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", ["receipt", "decision"])
def test_the_sheet_says_in_three_languages_what_its_code_shows(language: Language, kind: str) -> None:
    result = "refused" if kind == "decision" else ""
    made = issued(receipts.facts(language=language.value, kind=kind, result=result, sample=True), witnesses=(WITNESS,))
    sheet = sheet_of(made.receipt, AT)
    pdf = typeset_sheet(sheet)
    assert typeset_sheet(sheet) == pdf
    assert codes(pdf, scale=2) == [pack(made.receipt)]
    assert find_receipt(pdf) == pack(made.receipt)
    assert b"<pdfuaid:part>1</pdfuaid:part>" in pdf
    assert f"/Lang({language.value}-MA)".encode() in pdf
    with pypdfium2.PdfDocument(pdf) as document:
        assert len(document) == 1
        assert pdfium_c.FPDFCatalog_IsTagged(document)
    read = plain(text_of(pdf))
    assert [text for text in sheet.texts() if plain(text) not in read] == []
    assert receipts.CODE in text_of(pdf)


def test_a_large_receipt_is_read_too() -> None:
    made = issued(
        receipts.facts(office="وزارة إعداد التراب الوطني والتعمير والإسكان وسياسة المدينة — قسم الدعم المباشر للسكن"),
        witnesses=tuple(witness(f"witness{number}.ministry.example") for number in range(3)),
    )
    large = dataclasses.replace(made.receipt, hashes=(made.receipt.hashes * 5)[:27])
    assert modules_of(pack(large), error="l") <= 149
    pdf = typeset_sheet(sheet_of(large, ""))
    assert codes(pdf, scale=2) == [pack(large)]  # 144 pixels an inch, which any phone has over a page
    with pypdfium2.PdfDocument(pdf) as document:
        assert len(document) == 1
    with pytest.raises(Final) as caught:
        svg_of(pack(large) * 2, error="l")
    assert caught.value.code == "letter.code_too_long"


@pytest.mark.parametrize("language", Language)
def test_a_letter_shows_its_code_as_picture_and_text(language: Language) -> None:
    content = letter("decision", language)
    pdf = typeset(content)
    assert codes(pdf, scale=2) == [content.code]
    assert content.code in text_of(pdf)
    older = typeset(letter("decision", language, code="", check_at=""))
    assert codes(older, scale=2) == []
    assert AT in text_of(pdf).replace("\n", "")
    assert AT not in text_of(older)
