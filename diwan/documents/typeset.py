"""Letters as tagged PDF (PDF/UA-1), set by typst: the same content gives the same bytes, on every machine."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from importlib.metadata import version
from typing import Any

import structlog
import typst

from diwan.documents.check_sheet import CheckSheet
from diwan.documents.compose import Letter, compose
from diwan.documents.coverage import FONTS, REPLACEMENT
from diwan.documents.phrases import TEMPLATES
from diwan.domain.errors import Final

_log = structlog.get_logger()


@cache
def _fonts() -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[FONTS])


@cache
def template_version() -> str:
    """Names what letters are set with: digest of phrases, template and fonts, and the version of typst."""
    digest = hashlib.sha256()
    for path in sorted([*TEMPLATES.iterdir(), *FONTS.glob("*.ttf")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"letters-{digest.hexdigest()[:16]}/typst-{version('typst')}"


def typeset(letter: Letter) -> bytes:
    """The PDF of `letter`; blocks for some 50 ms. The document's date is that of the letter.

    Characters that our fonts cannot draw appear as U+FFFD. Raises Final where typst refuses, which is a fault of
    the template and not of the content.
    """
    data = compose(letter).to_data() | {"arabic_indic": letter.digits.value == "arabic_indic"}
    return _set("letter", data, letter.date, letter.kind)


def typeset_sheet(sheet: CheckSheet) -> bytes:
    """The PDF of a verification sheet, one page; blocks for some 100 ms. Raises Final as `typeset` does."""
    return _set("check", sheet.to_data(), sheet.date, "check")


def _set(template: str, data: Mapping[str, Any], on: date, kind: str) -> bytes:
    payload = json.dumps(data, ensure_ascii=False, sort_keys=True)
    language = str(data["lang"])
    if REPLACEMENT in payload:
        _log.warning("letters.characters.undrawable", kind=kind, language=language)
    try:
        return typst.compile(
            TEMPLATES / f"{template}.typ",
            root=TEMPLATES,
            font_paths=_fonts(),
            format="pdf",
            sys_inputs={"letter": payload},
            pdf_standards=["ua-1"],
            timestamp=datetime.combine(on, time(), UTC),
        )
    except typst.TypstError as error:
        # The diagnostic may quote the content: it is kept out of the error, which ends in logs.
        _log.error("letters.typeset.failed", kind=kind, language=language, hints=len(error.hints))
        raise Final(
            "letter.not_set", "The letter could not be typeset.", "Report this: the template is at fault."
        ) from None


async def render_letter(letter: Letter) -> bytes:
    """As `typeset`, beside the event loop."""
    return await asyncio.to_thread(typeset, letter)


async def render_sheet(sheet: CheckSheet) -> bytes:
    """As `typeset_sheet`, beside the event loop."""
    return await asyncio.to_thread(typeset_sheet, sheet)
