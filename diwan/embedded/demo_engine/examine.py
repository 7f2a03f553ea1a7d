"""The final answer: which piece each document is, what was found, and that rules found it."""

from __future__ import annotations

from typing import Any

from diwan.embedded.demo_engine.booleans import find_boolean
from diwan.embedded.demo_engine.classify import classify
from diwan.embedded.demo_engine.extract import Found, find_value
from diwan.embedded.demo_engine.lines import QUOTE_LIMIT, Line, lines_of, widened
from diwan.embedded.demo_engine.task import FactAsked, Task

_SUMMARY = {
    "ar": "قراءة آلية بقواعد ثابتة للعرض فقط، وليست نموذجا لغويا: "
    "قرئت {pages} صفحة من {documents} وثيقة ووجدت {claims} معلومة.",
    "fr": "Lecture par des règles fixes de démonstration, et non par un modèle de langage : {pages} page(s) lue(s) de "
    "{documents} document(s), {claims} fait(s) relevé(s).",
    "en": "Read by fixed demonstration rules, not by a language model: {pages} page(s) of {documents} document(s), "
    "{claims} fact(s) found.",
}
_MOST_CONCERNS = 5


def examine(task: Task) -> dict[str, Any]:
    """An `Examination` as JSON (agents/examiner.py has the type; the request's schema says the same)."""
    lines = lines_of(task.pages)
    kinds = classify(task, lines)
    claims = [claim for fact in task.facts for claim in _claims(fact, kinds, lines)]
    speaking = [line for line in lines if line.speaks]
    summary = _SUMMARY[task.language].format(pages=len(task.pages), documents=len(task.documents), claims=len(claims))
    return {
        "documents": [{"document": document, "piece": piece} for document, piece in kinds.items()],
        "claims": claims,
        "concerns": [
            {"code": "instruction_in_document", "text": line.raw[:QUOTE_LIMIT]} for line in speaking[:_MOST_CONCERNS]
        ],
        "summary": summary,
    }


def _claims(fact: FactAsked, kinds: dict[str, str], lines: list[Line]) -> list[dict[str, Any]]:
    """From the first of the fact's pieces that shows it; from each document where several are that piece."""
    for piece in fact.pieces:
        found: list[Found] = []
        for document in (name for name, kind in kinds.items() if kind == piece):
            own = [line for line in lines if line.document == document]
            if fact.type == "boolean":
                found += find_boolean(fact, own)
            elif (each := find_value(fact, own)) is not None:
                found.append(each)
        if found:
            return [_claim(fact.name, each, lines) for each in found]
    return []


def _claim(fact: str, found: Found, lines: list[Line]) -> dict[str, Any]:
    page = [line for line in lines if (line.document, line.page) == (found.document, found.page)]
    evidence = {"document": found.document, "page": found.page, "quote": widened(found.quote, page)}
    return {"fact": fact, "value": found.value, "evidence": evidence}
