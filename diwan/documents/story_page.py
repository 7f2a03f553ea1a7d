"""The readable part of a bundle: one page, in the auditor's language, that shows what each entry says.

Plain HTML without a script, a style sheet from elsewhere or a link out of the bundle: it opens in any browser, offline,
for as long as there are browsers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from diwan.documents.story_words import WORDS
from diwan.domain.text import Language, Localized

_TITLE = Localized(ar="سجل الملف", fr="Histoire du dossier", en="Story of the case")
_HEADINGS = (
    Localized(ar="رقم", fr="N°", en="No."),
    Localized(ar="متى (UTC)", fr="Quand (UTC)", en="When (UTC)"),
    Localized(ar="ما حدث", fr="Ce qui s’est passé", en="What happened"),
    Localized(ar="من", fr="Qui", en="Who"),
    Localized(ar="المرحلة", fr="Étape", en="Step"),
    Localized(ar="التفاصيل", fr="Précisions", en="Details"),
    Localized(ar="المضمون", fr="Contenu", en="Content"),
)
_ABOUT = Localized(
    ar="كل سطر قيد في السجل. هذه الصفحة للقراءة؛ ما يُثبَت هو القيود المرفقة، وللتحقق منها: python verify_bundle.py",
    fr="Chaque ligne est une entrée du registre. Cette page se lit ; ce qui se prouve, ce sont les entrées jointes : "
    "python verify_bundle.py",
    en="Each line is an entry of the ledger. This page is for reading; what is proved are the entries beside it: "
    "python verify_bundle.py",
)
_NOT_DISCLOSED = Localized(ar="غير مُفصَح عنه", fr="non communiqué", en="not disclosed")
_STYLE = (
    "body{font-family:system-ui,'Noto Sans','Noto Naskh Arabic',sans-serif;margin:2rem;line-height:1.5}"
    "table{border-collapse:collapse}"
    "th,td{border:1px solid #999;padding:.3rem .6rem;text-align:start;vertical-align:top}"
    "pre{white-space:pre-wrap;margin:0}tr:target{outline:3px solid #000}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """An entry's header, and what it discloses: a body, or that it commits to something which stays sealed. `hidden`
    are the fields of a body that stay sealed, as pointers."""

    header: Mapping[str, Any]
    body: Mapping[str, Any] | None
    sealed: bool
    hidden: Sequence[str] = ()


def story_page(language: Language, number: str, lines: Iterable[Line]) -> bytes:
    """A page in `language`, right to left where it is written so."""
    title = f"{_TITLE.in_(language)} {number}"
    head = "".join(f'<th scope="col">{escape(each.in_(language))}</th>' for each in _HEADINGS)
    rows = "\n".join(_row(language, line) for line in lines)
    direction = "rtl" if language is Language.AR else "ltr"
    return (
        f'<!doctype html>\n<html lang="{language.value}" dir="{direction}">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(_ABOUT.in_(language))}</p>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
        "</table>\n</body>\n</html>\n"
    ).encode()


def _what(language: Language, kind: str) -> str:
    """What happened, in words where there are some; the kind, by which it is compared with the entry, always."""
    words = WORDS.get(kind)
    return (f"{escape(words.in_(language))}<br>" if words else "") + f"<bdi>{escape(kind)}</bdi>"


def _row(language: Language, line: Line) -> str:
    header = line.header
    seq = header["seq"]
    step = f"{header['step']} ({header['visit']})" if header.get("step") else ""
    detail = ", ".join(f"{name}: {value}" for name, value in header.get("detail", {}).items())
    if line.body is not None:
        content = f'<pre dir="auto">{escape(json.dumps(line.body, ensure_ascii=False, indent=1, sort_keys=True))}</pre>'
    else:
        content = escape(_NOT_DISCLOSED.in_(language)) if line.sealed else ""
    if line.hidden:
        fields = ", ".join(f"<bdi>{escape(pointer[1:])}</bdi>" for pointer in sorted(line.hidden))
        content += f"<p>{escape(_NOT_DISCLOSED.in_(language))}: {fields}</p>"
    cells = (
        f'<a href="#e{seq}">{seq}</a>',
        f"<bdi>{escape(header['at'])}</bdi>",
        _what(language, header["kind"]),
        f"<bdi>{escape(header['actor']['kind'])}: {escape(header['actor']['subject'])}</bdi>",
        f"<bdi>{escape(step)}</bdi>",
        f'<span dir="auto">{escape(detail)}</span>',
        content,
    )
    return f'<tr id="e{seq}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
