"""Letters say what they were given, in three languages, and a machine can read them back."""

from __future__ import annotations

import io
import time
from datetime import date

import pypdfium2
import pypdfium2.raw as pdfium_c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdfminer.high_level import extract_pages
from pdfminer.layout import LTChar, LTTextContainer, LTTextLine
from pydantic import ValidationError

from diwan.documents.compose import compose
from diwan.documents.content import (
    Office,
    Piece,
    letter_content,
)
from diwan.documents.readback import missing_from, text_of
from diwan.documents.typeset import render_letter, template_version, typeset
from diwan.domain.case import Result
from diwan.domain.text import Language
from tests.documents import letters
from tests.documents.letters import KINDS, letter

EVERY = pytest.mark.parametrize(("kind", "language"), [(kind, language) for kind in KINDS for language in Language])


# --- the round trip ------------------------------------------------------------------------------------------------


@EVERY
def test_what_a_letter_says_can_be_read_back_from_its_pdf(kind: str, language: Language) -> None:
    content = letter(kind, language)
    assert missing_from(typeset(content), content) == []


@EVERY
def test_reading_back_notices_what_another_letter_says(kind: str, language: Language) -> None:
    pdf = typeset(letter(kind, language))
    other = letter(kind, language, case_number="DW-2026-000124", place="Fès-Meknès", date=date(2026, 11, 24))
    missed = " ".join(missing_from(pdf, other))
    assert "DW-2026-000124" in missed
    assert "Fès-Meknès" in missed


def test_identifiers_inside_right_to_left_lines_stand_as_people_read_them() -> None:
    text = text_of(typeset(letter("decision", Language.AR)))
    for whole in (
        "ملف رقم DW-2026-000142",
        "وثيقة التعريف رقم ZZ100001",
        "مرجعكم PORTAIL-77/AB",
        "650.000 درهم",
        "سلمت رخصة السكن بتاريخ 14 نونبر 2022، أي قبل فاتح يناير 2023.",
        "aide@logement.example · 05 37 00 00 00",
        "«demo-rules»",
    ):
        assert whole in text
    assert "مرجعكم 26/AB" in text_of(typeset(letter("withdrawal", Language.AR, reference="26/AB")))


def test_french_and_english_read_as_written() -> None:
    french = text_of(typeset(letter("decision", Language.FR, result=Result.GRANTED, amount=70_000)))
    assert "Votre demande est accordée. Le montant accordé est de 70 000 dirhams." in french.replace(
        "\u202f", " "
    ).replace("\u00a0", " ")
    assert "Prix du logement" in french
    english = text_of(typeset(letter("receipt", Language.EN)))
    assert "The administration must decide by 19 January 2027." in english


def test_stored_content_gives_the_same_letter() -> None:
    content = letter("decision", Language.AR)
    assert letter_content.validate_json(content.model_dump_json()) == content


# --- the file ------------------------------------------------------------------------------------------------------


@EVERY
def test_a_letter_is_tagged_named_and_in_its_language(kind: str, language: Language) -> None:
    content = letter(kind, language)
    pdf = typeset(content)
    with pypdfium2.PdfDocument(pdf) as document:
        assert document.get_metadata_value("Title") == compose(content).title
        assert document.get_metadata_value("Author") == content.office.name
        assert document.get_metadata_value("CreationDate").startswith("D:20261123")
        assert pdfium_c.FPDFCatalog_IsTagged(document)
    assert b"<pdfuaid:part>1</pdfuaid:part>" in pdf
    assert f"/Lang({language.value}-MA)".encode() in pdf


@EVERY
def test_the_same_content_gives_the_same_bytes(kind: str, language: Language) -> None:
    assert typeset(letter(kind, language)) == typeset(letter(kind, language))
    assert typeset(letter(kind, language)) != typeset(letter(kind, language, reference="OTHER-1"))


async def test_rendering_leaves_the_loop_free_and_needs_little_time_of_the_processor() -> None:
    content = letter("decision", Language.AR)
    await render_letter(content)
    started = time.process_time()
    assert await render_letter(content) == typeset(content)
    assert time.process_time() - started < 2  # 0.03 s each; not on the wall, where a busy machine makes it longer


def test_the_template_version_names_what_was_used() -> None:
    assert template_version() == template_version()
    assert template_version().startswith("letters-")


def test_an_error_in_content_repeats_no_value_of_it() -> None:
    with pytest.raises(ValidationError) as caught:
        letter("receipt", Language.FR, applicant={"name": "Planted Name", "address": ["Planted Street"]})
    assert "Planted" not in str(caught.value)


# --- how it looks --------------------------------------------------------------------------------------------------


def characters(pdf: bytes) -> list[LTChar]:
    found: list[LTChar] = []
    for page in extract_pages(io.BytesIO(pdf)):
        for box in page:
            if isinstance(box, LTTextContainer):
                lines = [line for line in box if isinstance(line, LTTextLine)]
                found += [char for line in lines for char in line if isinstance(char, LTChar)]
    return found


def test_arabic_letters_are_joined_and_run_from_the_right() -> None:
    pdf = typeset(letter("withdrawal", Language.AR, applicant={"name": "ببببببببب"}))
    with pypdfium2.PdfDocument(pdf) as document:
        page = document[0]
        text = page.get_textpage()
        start = text.get_text_range().index("ببببببببب")
        boxes = [text.get_charbox(start + n) for n in range(9)]
        lefts = [box[0] for box in boxes]
        assert lefts == sorted(lefts, reverse=True)
        scale = 4
        picture = page.render(scale=scale).to_pil().convert("L")
        top, bottom = (page.get_height() - max(b[3] for b in boxes), page.get_height() - min(b[1] for b in boxes))
        crop = picture.crop(
            tuple(int(edge * scale) for edge in (boxes[-1][0] + 1, top - 2, boxes[0][2] - 1, bottom + 2))
        )
        ink = [min(crop.getpixel((x, y)) for y in range(crop.height)) for x in range(crop.width)]
        assert max(ink) < 128, "a column without ink: the letters are not joined"


def test_an_arabic_page_starts_at_its_right_margin_and_a_french_one_at_its_left() -> None:
    for language, from_right in ((Language.AR, True), (Language.FR, False)):
        found = characters(typeset(letter("withdrawal", language, sample=False)))
        largest = max(char.size for char in found)
        title = [char for char in found if char.size > largest - 0.1]
        left, right = min(char.x0 for char in title), max(char.x1 for char in title)
        margin = 22 / 25.4 * 72
        assert (right > 595 - margin - 3) is from_right
        assert (left < margin + 3) is not from_right


@pytest.mark.parametrize("language", Language)
def test_nothing_runs_off_the_page(language: Language) -> None:
    long_word = "ABCDEFGHIJ" * 20
    content = letter(
        "decision",
        language,
        applicant={"name": long_word, "address": "\n".join([long_word] * 3), "identity_number": long_word},
        reference=("REF-" * 30)[:110],
        signatory={"name": long_word, "title": long_word},
    )
    for char in characters(typeset(content)):
        assert char.x0 > 50
        assert char.x1 < 595 - 50
    assert missing_from(typeset(content), content) == []


@pytest.mark.parametrize("language", Language)
def test_long_letters_break_over_pages_and_stay_accessible(language: Language) -> None:
    """PDF/UA is checked by typst as it writes: lists and tables that break are where it once failed."""
    label, hint = letters.PROMISE.in_(language), letters.SILENCE.in_(language)
    pieces = tuple(Piece(label=f"{label} ({n})", hint=hint) for n in range(25))
    receipt = letter("receipt", language, missing=pieces)
    facts = letters.decision(language).facts * 6
    decision = letter("decision", language, facts=facts, grounds=letters.decision(language).grounds * 25)
    for content in (receipt, decision):
        pdf = typeset(content)
        with pypdfium2.PdfDocument(pdf) as document:
            assert len(document) > 1
        assert missing_from(pdf, content) == []


def test_a_specimen_is_marked_and_another_letter_is_not() -> None:
    assert "SPÉCIMEN" in text_of(typeset(letter("receipt", Language.FR)))
    assert "SPÉCIMEN" not in text_of(typeset(letter("receipt", Language.FR, sample=False)))
    assert "Tout est fictif" in text_of(typeset(letter("receipt", Language.FR, notice="Tout est fictif")))


# --- hostile content -----------------------------------------------------------------------------------------------

MARKUP = [
    '#eval("1+1")',
    "#sys.inputs",
    "] #strong[x",
    "*gras* _italique_ `code`",
    "@reference <label> $x^2$",
    "= Titre",
    "- liste",
    "/* commentaire */ // fin",
    'fermer " et \\ puis \\u{41}',
    "{page} {0} {case_number} %s",
    "-- --- ... ~",
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("language", Language)
def test_markup_in_values_stays_text(language: Language) -> None:
    everywhere = {"name": MARKUP[0], "address": "\n".join(MARKUP)}
    content = letter("decision", language, applicant=everywhere, conditions=MARKUP, reference=MARKUP[2])
    pdf = typeset(content)
    assert missing_from(pdf, content) == []
    if language is not Language.AR:
        text = text_of(pdf)
        for markup in MARKUP:
            assert text.count(markup) == 2 + (markup in (MARKUP[0], MARKUP[2]))


def test_bidi_controls_and_control_characters_in_values_change_nothing() -> None:
    plain_text, hostile = "ZZ100001 أحمد", "\u202eZZ100001\u202c \u2067أح\u0000مد\u2069\u200f"
    clean = letter("receipt", Language.AR, applicant={"name": plain_text}, procedure=plain_text)
    dirty = letter("receipt", Language.AR, applicant={"name": hostile}, procedure=hostile)
    assert typeset(clean) == typeset(dirty)


def test_characters_that_no_font_of_ours_has_are_replaced_and_the_letter_is_set() -> None:
    content = letter("receipt", Language.FR, applicant={"name": "漢字 Ⴀ 😀 Dupont"})
    assert "\ufffd\ufffd \ufffd \ufffd Dupont" in text_of(typeset(content))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(min_size=1, max_size=80).filter(str.strip),
    language=st.sampled_from(Language),
    kind=st.sampled_from(KINDS),
)
def test_any_text_can_be_set(text: str, language: Language, kind: str) -> None:
    content = letter(
        kind, language, applicant={"name": text, "address": text}, office=Office(name=text), reference=text
    )
    assert typeset(content).startswith(b"%PDF-")
