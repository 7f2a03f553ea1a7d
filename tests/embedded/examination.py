"""Runs a whole examination against an engine, as activities and workflow do, without Postgres or Temporal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import JsonValue

from agents.conclude import Conclusion, conclude
from agents.dossier import SubmittedDocument, document_list, short_names
from agents.examiner import EXAMINER, Examination, brief
from agents.loop import CallModel, CallTools, GiveUp, Reason, Turn, next_move
from agents.messages import Exchange, build_request
from agents.parse import Parsed, RequestedCall, broken, parse_response
from agents.tools import page_result, registry_result
from diwan.domain.facts import Fact, PageText
from diwan.domain.text import Language
from diwan.embedded.demo_engine.app import create_app
from diwan.embedded.demo_engine.failures import Failure
from diwan.pool.engine import EngineClient, wire_request
from diwan.pool.errors import EngineJunk
from diwan.procedures.examples import example_text
from diwan.procedures.load import load_procedure
from diwan.procedures.schema import Procedure
from tests.support.wires import TransportWire

MODEL = "demo-rules"
DOSSIERS = Path(__file__).parent / "dossiers"
HOUSING = load_procedure(example_text("direct-housing-aid"))
TODAY = datetime.now(UTC).date()


@dataclass
class Dossier:
    """Documents as (what the sender says it is, texts of its pages)."""

    documents: Sequence[tuple[str, Sequence[str]]]
    identity_number: str = "ZZ100001"
    flags: tuple[str, ...] = ()

    @property
    def submitted(self) -> list[SubmittedDocument]:
        return [
            SubmittedDocument(id=f"document-{number}", pages=len(pages), piece=piece, flags=self.flags)
            for number, (piece, pages) in enumerate(self.documents, 1)
        ]

    @property
    def pages(self) -> list[PageText]:
        return [
            PageText(document=f"document-{number}", page=page, text=text)
            for number, (_, pages) in enumerate(self.documents, 1)
            for page, text in enumerate(pages, 1)
        ]


@dataclass
class Run:
    """What came of it: a conclusion, or the reason for giving up; every request, and every turn."""

    conclusion: Conclusion | None = None
    examination: Examination | None = None
    reason: Reason | None = None
    turns: list[Turn] = field(default_factory=list[Turn])
    requests: list[dict[str, JsonValue]] = field(default_factory=list[dict[str, JsonValue]])

    def values(self) -> dict[str, object]:
        facts = self.conclusion.facts if self.conclusion else []
        return {f.name: f.value.isoformat() if isinstance(f.value, date) else f.value for f in facts}


async def examine(
    engine: EngineClient, procedure: Procedure, language: Language, dossier: Dossier, known: Sequence[Fact] = ()
) -> Run:
    run = Run()
    transcript: list[Exchange] = []
    briefing = brief(procedure, language, dossier.submitted, identity_number=dossier.identity_number)
    while True:
        move = next_move(EXAMINER, run.turns, elapsed_s=0)
        if isinstance(move, CallModel):
            request = build_request(EXAMINER, briefing, transcript, final=move.final, model=MODEL)
            run.requests.append(request)
            parsed = await _ask(engine, request, final=move.final)
            run.turns.append(parsed.turn)
            transcript.append(Exchange(parsed))
        elif isinstance(move, CallTools):
            parsed = transcript[-1].parsed
            results = {r.position: _tool(dossier, parsed.calls[r.position]) for r in move.requests}
            transcript[-1] = Exchange(parsed, results)
            run.turns[-1] = run.turns[-1].with_results([True] * len(move.requests))
        elif isinstance(move, GiveUp):
            run.reason = move.reason
            return run
        else:
            answer = transcript[-1].parsed.answer
            assert isinstance(answer, Examination)
            run.examination = answer
            run.conclusion = conclude(
                procedure, answer, dossier.submitted, dossier.pages, known, as_of=TODAY, established_by="examiner"
            )
            return run


async def _ask(engine: EngineClient, request: dict[str, JsonValue], *, final: bool) -> Parsed:
    body = wire_request(request, cache_salt="tenant", request_id="run-1")
    try:
        answer = await engine.chat(body)
    except EngineJunk as junk:
        return broken(final=final, endless=junk.endless, why=junk.code)
    return parse_response(EXAMINER, answer.body, final=final)


def _tool(dossier: Dossier, call: RequestedCall) -> JsonValue:
    if call.request.tool == "documents.list":
        return document_list(dossier.submitted)
    if call.request.tool == "registry.earlier_aid":
        return registry_result(found=False, register="aids", as_of=TODAY.isoformat())
    name, page = call.arguments["document"], call.arguments["page"]
    assert isinstance(name, str)
    assert isinstance(page, int)
    document = short_names(dossier.submitted)[name]
    found = next((each for each in dossier.pages if (each.document, each.page) == (document.id, page)), None)
    return page_result(name, page, found, pages=document.pages)


def engine(failure: Failure | None = None, **options: Any) -> EngineClient:
    return EngineClient("http://engine", wire=TransportWire(httpx.ASGITransport(create_app(failure))), **options)


def dossier_of(folder: Path) -> tuple[Dossier, Language, dict[str, object]]:
    """Each .txt is a document, a form feed a new page; its name is what the sender says it is."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    documents = [(path.stem, path.read_text(encoding="utf-8").split("\f")) for path in sorted(folder.glob("*.txt"))]
    return Dossier(documents), Language(expected["language"]), expected["facts"]


async def run(folder: str, failure: Failure | None = None, **options: Any) -> Run:
    dossier, language, _ = dossier_of(DOSSIERS / folder)
    async with engine(failure, **options) as client:
        return await examine(client, HOUSING, language, dossier)
