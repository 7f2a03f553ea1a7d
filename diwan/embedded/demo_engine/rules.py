"""One turn of the conversation: list, look up, read every page, say so, and on the final call answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

from diwan.embedded.demo_engine.examine import examine
from diwan.embedded.demo_engine.failures import Failure, Mode, obedient, with_wrong_evidence
from diwan.embedded.demo_engine.task import Task

_PAGES_A_TURN = 20
_DONE = {
    "ar": "قرأت جميع صفحات الملف.",
    "fr": "J'ai lu toutes les pages du dossier.",
    "en": "I have read all pages of the dossier.",
}
_NOT_MINE = "demo-rules can only examine dossiers: it is a set of fixed rules, not a language model."


@dataclass(frozen=True)
class Reply:
    """One choice: text, tool calls as (name, arguments), or a refusal."""

    text: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    refusal: str = ""


def reply(request: dict[str, Any], task: Task, failure: Failure | None) -> Reply:
    """What the rules answer to a chat request that asks for `task`."""
    if schema := wanted_schema(request):
        if not {"documents", "claims"} <= set(schema.get("properties", {})):
            return Reply(refusal=_NOT_MINE)
        answer = examine(task)
        if failure and failure.mode is Mode.WRONG_EVIDENCE:
            answer = with_wrong_evidence(answer)
        if failure and failure.mode is Mode.OBEY_INSTRUCTIONS:
            answer = obedient(task, answer)
        return Reply(text=json.dumps(answer, ensure_ascii=False))
    tools = [str(tool["function"]["name"]) for tool in cast("list[dict[str, Any]]", request.get("tools") or [])]
    if not tools or not task.documents:
        return Reply(text=_NOT_MINE)
    calls = _calls(task, tools) if request.get("tool_choice", "auto") == "auto" else []
    return Reply(calls=calls) if calls else Reply(text=_DONE[task.language])


def wanted_schema(request: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON Schema of `response_format`, where the request has one."""
    format_ = cast("dict[str, Any]", request.get("response_format") or {})
    if format_.get("type") != "json_schema":
        return None
    return cast("dict[str, Any]", format_["json_schema"]["schema"])


def _calls(task: Task, tools: list[str]) -> list[tuple[str, dict[str, Any]]]:
    wanted: list[tuple[str, dict[str, Any]]] = []
    if "documents_list" in tools:
        wanted.append(("documents_list", {}))
    if task.identity_number:
        wanted += [(tool, {"identity_number": task.identity_number}) for tool in tools if tool.startswith("registry_")]
    first = [call for call in wanted if not _made(task, call)]
    if first:
        return first
    pages = [
        ("documents_read_page", {"document": document, "page": page})
        for document, count in task.documents.items()
        for page in range(1, count + 1)
    ]
    return [call for call in pages if not _made(task, call)][:_PAGES_A_TURN]


def _made(task: Task, call: tuple[str, dict[str, Any]]) -> bool:
    name, arguments = call
    return any(name == made and _same(arguments, text) for made, text in task.called)


def _same(arguments: dict[str, Any], text: str) -> bool:
    try:
        return json.loads(text or "{}") == arguments
    except ValueError:
        return False
