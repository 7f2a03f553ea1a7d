"""A letter as paragraphs in reading order, ready to be set: no language, no procedure, only text and its structure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from diwan.documents.clean import clean
from diwan.documents.coverage import only_drawable
from diwan.documents.phrases import Run
from diwan.documents.qr import svg_of
from diwan.domain.text import Language

# Inside free text: addresses of the net, telephone numbers, references with signs in them, numbers grouped by spaces.
# In a right-to-left line these would come apart (26/ABC, 100 000), so they are set apart like identifiers.
_IDENTIFIER = re.compile(
    r"(?<![\w/.@+-])(?:"
    r"(?:https?://|www\.)[A-Za-z0-9./?=&%_~#:-]*[A-Za-z0-9/]"
    r"|[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
    r"|\+?[0-9]{1,4}(?:[ \u00a0\u202f.-][0-9]{2,4})+"
    r"|[A-Za-z0-9]+(?:[./-][A-Za-z0-9]+)+"
    r"|[A-Za-z]+[0-9][A-Za-z0-9]*|[0-9]+[A-Za-z][A-Za-z0-9]*"
    r")(?![\w/@-])"
)
_LONG_WORD = re.compile(r"\S{41,}")


_LRI, _FSI, _PDI = "\u2066", "\u2068", "\u2069"  # Unicode isolates: left to right, by first strong letter, end


def safe(text: str) -> str:
    """Text from outside as it may be set: one line, no controls, drawable by our fonts, long words able to break."""
    return _LONG_WORD.sub(_breakable, only_drawable(" ".join(clean(text).split("\n"))))


def _breakable(word: re.Match[str]) -> str:
    return "\u200b".join(re.findall(r"[^/.@_-]{1,30}[/.@_-]*|[/.@_-]+", word[0]))


def _isolate_identifiers(text: str) -> str:
    return _IDENTIFIER.sub(lambda match: _LRI + re.sub("[ \u202f]", "\u00a0", match[0]) + _PDI, text)


@dataclass(frozen=True, slots=True)
class Block:
    """`kind`: heading, paragraph, result (the decision itself), list, facts (a table; its first row is the head)."""

    kind: str
    runs: tuple[Run, ...] = ()
    items: tuple[tuple[tuple[Run, ...], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """`meta`: label and value of each reference; `office`, `addressee`, `signature`: lines; `footer`: page text with
    `{page}` and `{pages}` in it; `code` and how to `check` the letter by it, empty in letters that are older."""

    language: Language
    title: str
    office: tuple[str, ...]
    office_details: tuple[str, ...]
    place_and_date: tuple[Run, ...]
    meta: tuple[tuple[str, Run], ...]
    to: str
    addressee: tuple[str, ...]
    blocks: tuple[Block, ...]
    signature: tuple[tuple[Run, ...], ...]
    footer: str
    footer_reference: str
    specimen: str
    notice: str
    code: str = ""
    code_label: str = ""
    check: tuple[Run, ...] = ()

    def texts(self) -> list[str]:
        """Every string that a reader of the letter must find, in the order it is set."""
        found = [*self.office, *self.office_details, "".join(run.text for run in self.place_and_date)]
        found += [text for label, value in self.meta for text in (label, value.text)]
        found += [self.to, *self.addressee, self.title]
        for block in self.blocks:
            found.append("".join(run.text for run in block.runs))
            found += ["".join(run.text for run in cell) for item in block.items for cell in item]
        found += ["".join(run.text for run in line) for line in self.signature] + [self.notice]
        found += [self.code_label if self.code else "", self.code, "".join(run.text for run in self.check)]
        return [shown for text in found if (shown := safe(text).replace("\u200b", "").strip())]

    def to_data(self) -> dict[str, Any]:
        """The JSON that the template reads: strings only, none of them markup."""
        return {
            "lang": self.language.value,
            "rtl": self.language is Language.AR,
            "title": safe(self.title),
            "office": [line_data(line) for line in self.office],
            "office_details": [line_data(line) for line in self.office_details],
            "place_and_date": runs_data(self.place_and_date),
            "meta": [{"label": safe(label), "value": runs_data((value,))} for label, value in self.meta],
            "to": safe(self.to),
            "addressee": [line_data(line) for line in self.addressee],
            "blocks": [
                {
                    "kind": block.kind,
                    "runs": runs_data(block.runs),
                    "items": [[runs_data(cell) for cell in item] for item in block.items],
                }
                for block in self.blocks
            ],
            "signature": ["".join(_set(run) for run in line) for line in self.signature],
            "footer": safe(self.footer),
            "footer_reference": safe(self.footer_reference),
            "specimen": safe(self.specimen),
            "notice": line_data(self.notice),
            "code": safe(self.code),
            "code_picture": svg_of(self.code, error="m") if self.code else "",
            "code_label": safe(self.code_label),
            "check": runs_data(self.check),
        }


def runs_data(runs: tuple[Run, ...]) -> list[dict[str, str]]:
    return [{"kind": "id" if run.kind == "id" else "text", "text": _set(run)} for run in runs if run.text]


def _set(run: Run) -> str:
    if run.kind == "id":
        return safe(run.text)
    if run.kind == "free":
        return _FSI + _isolate_identifiers(safe(run.text)) + _PDI
    return _isolate_identifiers(run.text)


def line_data(text: str) -> str:
    return _isolate_identifiers(safe(text))
