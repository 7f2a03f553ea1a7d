"""The sheet that goes with a letter: its receipt as a code that anybody can check offline, and how, in three languages.

It comes after the letter, whose bytes were committed to before there was a proof, and is made anew whenever it is asked
for: of the newest checkpoint, and of nothing that the letter's receipt does not disclose.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from diwan.documents.formats import Formats
from diwan.documents.phrases import Run, free, identifier, phrase, plain
from diwan.documents.qr import svg_of
from diwan.documents.sheet import line_data, runs_data, safe
from diwan.domain.text import Language
from diwan.ledger.receipt import Receipt, pack, read_facts

# So that a phone reads it: 7 % of a code may be dirty or creased, and its modules are as large as the page allows.
_ERROR = "l"


@dataclass(frozen=True, slots=True)
class CheckSheet:
    """`receipt` is the text of ledger/receipt.py, the rest what it discloses; `check_at` may be empty."""

    language: Language
    receipt: str
    code: str
    kind: str
    result: str
    number: str
    date: date
    office: str
    sample: bool
    check_at: str = ""

    @property
    def letter_title(self) -> str:
        """The letter's own title, as letters of its kind have it."""
        key = f"decision.title.{self.result}" if self.result else f"{self.kind}.title"
        return plain(self.language, key)

    def texts(self) -> list[str]:
        """Every string that a reader of the sheet must find."""
        said = [plain(self.language, "sheet.title"), *self.office.split(" — "), self.letter_title]
        for label, value in self._facts():
            said += [label, value.text]
        for language in Language:
            said += ["".join(run.text for run in runs) for runs in self._how(language)]
        return [safe(text).replace("\u200b", "") for text in said]

    def to_data(self) -> dict[str, Any]:
        """The JSON that the template reads: strings only, none of them markup."""
        others = [language for language in Language if language is not self.language]
        return {
            "lang": self.language.value,
            "rtl": self.language is Language.AR,
            "title": plain(self.language, "sheet.title"),
            "office": [line_data(part.strip()) for part in self.office.split(" — ")],
            "letter_title": safe(self.letter_title),
            "facts": [{"label": safe(label), "value": runs_data((value,))} for label, value in self._facts()],
            "picture": svg_of(self.receipt, error=_ERROR),
            "picture_label": plain(self.language, "sheet.picture", number=self.number),
            "receipt": self.receipt,
            "specimen": plain(self.language, "labels.specimen") if self.sample else "",
            "how": [
                {
                    "lang": language.value,
                    "rtl": language is Language.AR,
                    "title": plain(language, "sheet.title"),
                    "paragraphs": [runs_data(runs) for runs in self._how(language)],
                }
                for language in (self.language, *others)
            ],
        }

    def _facts(self) -> list[tuple[str, Run]]:
        day = Formats(self.language).date(self.date)
        facts = [("labels.number", identifier(self.number)), ("labels.code", identifier(self.code))]
        said = [(plain(self.language, key), value) for key, value in facts]
        return [*said, (plain(self.language, "sheet.date"), free(day))]

    def _how(self, language: Language) -> list[tuple[Run, ...]]:
        values = {"number": identifier(self.number), "code": identifier(self.code)}
        if self.check_at:
            values["address"] = identifier(self.check_at)
        how = "sheet.how_at" if self.check_at else "sheet.how"
        return [tuple(phrase(language, key, **values)) for key in ("sheet.about", how, "sheet.proves")]


def sheet_of(receipt: Receipt, check_at: str) -> CheckSheet:
    """The sheet of a receipt that we made. Raises `Tampered` where its facts are none."""
    facts = read_facts(receipt.facts)
    return CheckSheet(
        language=Language(facts.language),
        receipt=pack(receipt),
        code=facts.code,
        kind=facts.kind,
        result=facts.result,
        number=facts.number,
        date=facts.date,
        office=facts.office,
        sample=facts.sample,
        check_at=check_at,
    )
