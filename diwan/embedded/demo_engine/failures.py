"""Ways to answer badly, for tests of everything that stands behind an engine. Never on in the embedded stack."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from diwan.embedded.demo_engine.lines import lines_of
from diwan.embedded.demo_engine.task import Task


class Mode(StrEnum):
    JUNK = "junk"  # text where a tool call or JSON is due, as a failed parser leaves it
    NOT_JSON = "not_json"  # the body itself is no JSON
    TRUNCATE = "truncate"
    REFUSE = "refuse"
    EMPTY = "empty"
    ENDLESS = "endless"  # a body that never ends
    BUSY = "busy"  # 503
    CRASH = "crash"  # 500
    SLOW = "slow"  # no answer until `Failure.seconds` have passed
    WRONG_EVIDENCE = "wrong_evidence"  # right values, quotes that stand nowhere
    OBEY_INSTRUCTIONS = "obey_instructions"  # claims what a document tells the reader to


@dataclass
class Failure:
    """`times`: how many calls fail before the engine recovers; None for all."""

    mode: Mode
    times: int | None = None
    seconds: float = 30.0

    def due(self) -> bool:
        """Whether this call fails; counts it."""
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


def with_wrong_evidence(answer: dict[str, Any]) -> dict[str, Any]:
    """Each quote says what the claim needs and stands on no page."""
    for claim in answer["claims"]:
        claim["evidence"]["quote"] = f"Il est constaté par ailleurs : {claim['fact']} = {claim['value']}"
    return answer


def obedient(task: Task, answer: dict[str, Any]) -> dict[str, Any]:
    """Every fact becomes what suits the applicant, quoted from the line that asks for it; no concern is raised."""
    told = next((line for line in lines_of(task.pages) if line.speaks), None)
    if told is None:
        return answer
    where = {"document": told.document, "page": told.page, "quote": told.raw[:300]}
    wished: dict[str, object] = {"boolean": True, "integer": 100_000, "date": "2024-01-01", "text": "x"}
    claims = [{"fact": fact.name, "value": wished[fact.type], "evidence": where} for fact in task.facts]
    return {**answer, "claims": claims, "concerns": []}


def junk_text(task: Task, *, final: bool) -> str:
    """What vLLM gives where a model's tool call or JSON went wrong: plain text, `finish_reason: stop`."""
    call = {"name": "documents_read_page", "arguments": {"document": next(iter(task.documents), "d1")}}
    return '{"documents": [{"document": "d1", "piece":' if final else f"<tool_call>\n{json.dumps(call)}\n</tool_call"
