"""The page by which anybody checks a letter, in one file: it works from a disk, with no network, in any recent browser.

Its parts lie in diwan/standalone/receipt_page: receipt.js checks what diwan/ledger/receipt.py does, beside the library
for browsers that know no Ed25519 (noble-ed25519.js 3.2.0, as published, MIT). Nothing but its own script may run
in it, and it may speak to nobody but the address that it is given.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from urllib.parse import urlsplit

from diwan.documents.phrases import catalogue
from diwan.domain.text import Language

PARTS = Path(__file__).parent.parent / "standalone" / "receipt_page"


def receipt_page(policy: str, online: str = "", language: Language = Language.EN) -> bytes:
    """The page with the keys of `policy` in it; `online` is the service's address, empty where the page asks nobody."""
    given = {"policy": policy, "online": online.rstrip("/"), "language": language.value, "words": _words()}
    script, style = receipt_script() + _part("page.js"), _part("page.css")
    connect = f"{urlsplit(online).scheme}://{urlsplit(online).netloc}" if online else "'none'"
    rules = {
        "default-src": "'none'",
        "script-src": _allowed(script),
        "style-src": _allowed(style),
        "connect-src": connect,
        "form-action": "'none'",
        "base-uri": "'none'",
    }
    filled = {
        "csp": "; ".join(f"{name} {allowed}" for name, allowed in rules.items()),
        "title": _words()[language.value]["title"],
        "style": style,
        # What stands in a script ends at no tag: `<` is as good written so.
        "given": json.dumps(given, ensure_ascii=False).replace("<", "\\u003c"),
        "licence": _part("noble-ed25519.LICENSE").replace("<", "&lt;"),
        "script": script,
    }
    page = _part("page.html")
    for name, value in filled.items():
        before, _, after = page.partition(f"{{{{{name}}}}}")
        page = before + value + after
    return page.encode()


def receipt_script() -> str:
    """What checks, without the page around it."""
    library, _, exported = _part("noble-ed25519.js").rpartition("\nexport {")
    assert exported.rstrip().endswith("};")
    return (
        '"use strict";\nconst verifyByLibrary = (() => {\n'
        f"{library}\nreturn verifyAsync;\n}})();\n{_part('receipt.js')}"
    )


def _words() -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = json.loads(_part("words.json"))
    for language in Language:
        titles = catalogue(language)
        for kind in ("receipt", "request_for_pieces", "reminder", "withdrawal"):
            words[language.value][f"title_{kind}"] = titles[kind]["title"]
        for result, title in titles["decision"]["title"].items():
            words[language.value][f"title_decision_{result}"] = title
    return words


def _allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")
