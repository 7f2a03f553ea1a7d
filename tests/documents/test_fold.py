"""Two spellings of the same thing fold to one text; amounts and dates are read or not read, never guessed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.fold import find_dates, fold, parse_amount, parse_date

MONTHS = {
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "en": "January February March April May June July August September October November December",
    "ma": "يناير فبراير مارس أبريل ماي يونيو يوليوز غشت شتنبر أكتوبر نونبر دجنبر",
    "eg": "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر",
    "dz": "جانفي فيفري مارس أفريل ماي جوان جويلية أوت سبتمبر أكتوبر نوفمبر ديسمبر",
    "sy": "كانون_الثاني شباط آذار نيسان أيار حزيران تموز آب أيلول تشرين_الأول تشرين_الثاني كانون_الأول",
}
ARABIC_INDIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
days = st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 12, 31))
amounts = st.integers(min_value=1, max_value=10**12)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(), st.text(alphabet=" \t\n\u00a0\u200f\u2066\u0640\u0000"))
def test_invisible_text_around_makes_no_difference(text: str, noise: str) -> None:
    assert fold(noise + text + noise) == fold(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("قَرَارٌ", "قرار"),
        ("ﻗﺮﺍﺭ", "قرار"),
        ("القـــرار", "القرار"),
        ("الأُسرة", "الاسره"),
        ("مستشفى", "مستشفي"),
        ("أكادير", "أڭادير"),
        ("٢٠٢٦ و ۲۰۲۶", "2026 و 2026"),
        ("DÉCISION  N\u00b0", "decision n\u00b0"),
        ("l’œuvre", "L'OEUVRE"),
        ("700\u202f000 DH", "700.000 dh"),
        ("٧٠٠٬٠٠٠", "700,000"),
        ("1'250'000", "1 250 000"),
        ("\u2067ZZ100001\u2069", "zz100001"),
        ("straße", "STRASSE"),
    ],
)
def test_spellings_of_the_same_text_fold_alike(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("700 000", "70 000"), ("14/11/2022", "14/1/12022"), ("قرار", "ترار")])
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(amounts, st.sampled_from([" ", ",", ".", "\u202f", "'"]), st.sampled_from(["", " DH", " درهم", " dirhams"]))
def test_an_amount_is_read_however_it_is_grouped(amount: int, separator: str, currency: str) -> None:
    written = f"{amount:,}".replace(",", separator) + currency
    assert parse_amount(written) == amount
    assert parse_amount(written.translate(ARABIC_INDIC)) == amount
    assert parse_amount(written.translate(PERSIAN)) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("700.000,00 DH", Decimal(700000)),
        ("1,250.50 MAD", Decimal("1250.5")),
        ("٣٥٠٬٠٠٠٫٢٥ درهماً", Decimal("350000.25")),
        ("MAD 350000", Decimal(350000)),
        ("1 000 000 dirhams marocains", Decimal(1000000)),
        ("12,5", Decimal("12.5")),
    ],
)
def test_amounts_are_read(text: str, amount: Decimal) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    "text", ["", "sept cents", "70%", "-5", "0.123", "7 00 000", "700 000 ou 300 000", "ZZ100001", "14/11/2022"]
)
def test_what_is_no_plain_amount_is_not_guessed(text: str) -> None:
    assert parse_amount(text) is None


@given(days, st.sampled_from(sorted(MONTHS)))
def test_a_day_is_read_in_every_usual_form(day: date, names: str) -> None:
    month = MONTHS[names].split()[day.month - 1].replace("_", " ")
    for written in (
        f"{day:%d/%m/%Y}",
        f"{day.day}.{day.month}.{day.year}",
        day.isoformat(),
        f"{day:%Y/%m/%d}",
        f"{day.day} {month} {day.year}",
    ):
        assert parse_date(written) == day
        assert parse_date(written.translate(ARABIC_INDIC)) == day
        assert find_dates(f"Réf. A-12, {written}, page 3") == [day]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1er février 2024", date(2024, 2, 1)),
        ("Lundi 14 novembre 2022", date(2022, 11, 14)),
        ("le 14 nov. 2022", date(2022, 11, 14)),
        ("يوم الاثنين 14 نونبر 2022", date(2022, 11, 14)),
        ("14 غشت 2023م", date(2023, 8, 14)),
        ("November 14th, 2022", date(2022, 11, 14)),
    ],
)
def test_dates_are_read(text: str, day: date) -> None:
    assert parse_date(text) == day


@pytest.mark.parametrize(
    "text", ["", "14/11/22", "1444/05/12", "12/05/1444 هـ", "31/02/2023", "11/14/2022", "2022", "14/11-2022", "700 000"]
)
def test_what_is_no_plain_day_is_not_guessed(text: str) -> None:
    assert parse_date(text) is None


def test_dates_are_found_in_running_text() -> None:
    french = "Le prix est de 650 000,00 DH (acompte : MAD 12 500), acte du 14/11/2022, lot n° 114/11/2022/7."
    assert find_dates(french) == [date(2022, 11, 14)]
    arabic = "حدد الثمن في ٦٥٠٬٠٠٠ درهم بتاريخ ١٤ نونبر ٢٠٢٢ وسجل تحت رقم 7788."
    assert find_dates(arabic) == [date(2022, 11, 14)]
