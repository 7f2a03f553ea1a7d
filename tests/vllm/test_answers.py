"""What our requests get from a real vLLM, and what our client and parser make of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import jsonschema
import pytest
from pydantic import JsonValue

from agents.dossier import SubmittedDocument
from agents.examiner import EXAMINER, brief
from agents.loop import TurnKind
from agents.messages import Exchange, build_request
from agents.parse import Parsed, parse_response
from diwan.domain.text import Language
from diwan.pool.engine import EngineAnswer, EngineClient, wire_request
from diwan.pool.errors import EngineRejected
from diwan.procedures.examples import example_text
from diwan.procedures.load import load_procedure
from tests.vllm.server import CONTEXT, NAME, VERSION, Server

pytestmark = pytest.mark.timeout(1_200)

DOCUMENTS = [SubmittedDocument(id=f"document-{n}", pages=1, piece="", unreadable=False, flags=()) for n in range(4)]
PAGE: JsonValue = {"document": "d1", "page": 1, "pages": 1, "text": "CARTE NATIONALE (SPECIMEN)\nNom : TEST"}
Json = dict[str, Any]


@pytest.fixture(scope="session")
async def engine(server: Server) -> AsyncGenerator[EngineClient]:
    async with EngineClient(server.url, seconds=300) as made:
        yield made


def asked(transcript: Sequence[Exchange] = (), *, final: bool = False, language: Language = Language.FR) -> Json:
    """The request of a run at this point, as the agent makes it."""
    briefing = brief(load_procedure(example_text("direct-housing-aid")), language, DOCUMENTS, identity_number="ZZ1")
    return dict(build_request(EXAMINER, briefing, transcript, final=final, model=NAME))


async def call(engine: EngineClient, request: Json) -> EngineAnswer:
    return await engine.chat(wire_request(request, cache_salt="salt", request_id="run/1"))


async def test_it_says_its_version_and_what_it_serves(engine: EngineClient) -> None:
    assert await engine.healthy()
    info = await engine.info()
    assert info.version == VERSION
    assert info.models == {NAME: CONTEXT}


@pytest.mark.parametrize("language", list(Language))
async def test_a_run_is_understood_from_the_first_call_to_the_typed_answer(
    engine: EngineClient, language: Language
) -> None:
    transcript: list[Exchange] = []
    answers: list[EngineAnswer] = []
    for final in (False, False, True):
        answer = await call(engine, asked(transcript, final=final, language=language))
        answers.append(answer)
        parsed = parse_response(EXAMINER, answer.body, final=final)
        transcript.append(Exchange(parsed, {0: PAGE}))
    called, said, typed = (exchange.parsed for exchange in transcript)
    assert called.turn.kind is TurnKind.TOOLS
    assert [(each.request.tool, each.request.problem) for each in called.calls] == [("documents.read_page", "")]
    assert called.calls[0].arguments == {"document": "d1", "page": 1}
    assert said.turn.kind is TurnKind.ANSWER
    assert typed.turn.kind is TurnKind.ANSWER, typed.turn
    assert typed.answer is not None
    for answer in answers:
        body = json.loads(answer.body)
        assert answer.fingerprint.startswith(f"vllm-{VERSION}-")
        assert answer.model == NAME
        assert len(body["prompt_token_ids"]) == answer.usage.prompt_tokens
        assert len(body["choices"][0]["token_ids"]) == answer.usage.completion_tokens
    assert all(answer.usage.cached_tokens > 0 for answer in answers[1:])


# --- the typed answer ------------------------------------------------------------------------------------------------


async def test_the_schema_is_enforced_and_the_same_bytes_give_the_same_answer(engine: EngineClient) -> None:
    request = asked(final=True)
    first, again = await call(engine, request), await call(engine, request)
    text = json.loads(first.body)["choices"][0]["message"]["content"]
    jsonschema.validate(json.loads(text), request["response_format"]["json_schema"]["schema"])
    assert json.loads(again.body)["choices"][0]["token_ids"] == json.loads(first.body)["choices"][0]["token_ids"]


@pytest.mark.parametrize("field", ["guided_json", "response_format"])
async def test_a_schema_in_the_old_fields_binds_nothing(engine: EngineClient, field: str) -> None:
    """The trap: the server takes the old fields, answers 200, and holds the model to nothing."""
    request = asked(final=True)
    schema = request.pop("response_format")
    request[field] = schema["json_schema"]["schema"] if field == "guided_json" else schema
    request["max_tokens"] = 64
    text = json.loads((await call(engine, request)).body)["choices"][0]["message"]["content"] or ""
    assert text.startswith("{") is (field == "response_format")


# --- tool calls ------------------------------------------------------------------------------------------------------


async def made_to_say(engine: EngineClient, text: str) -> Parsed:
    """What we make of an answer to a call with tools when the model says exactly this."""
    request = {**asked(), "structured_outputs": {"choice": [text]}, "max_tokens": 200}
    return parse_response(EXAMINER, (await call(engine, request)).body, final=False)


async def test_a_tool_call_that_does_not_end_is_junk_and_not_an_answer(engine: EngineClient) -> None:
    for text in (
        '<tool_call>{"name": "documents_list", "arguments": {',
        '<tool_call>{"name": "documents_list", "arguments": {}</tool_call>',
        '{"name": "documents_list", "arguments": {}}',
    ):
        parsed = await made_to_say(engine, text)
        assert (parsed.turn.kind, parsed.turn.why) == (TurnKind.JUNK, "tool_call_as_text"), text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<tool_call>{"name": "documents_list", "arguments": {}}</tool_call>', ""),
        ('<tool_call>{"name": "documents_delete", "arguments": {}}</tool_call>', "unknown_tool"),
        ('<tool_call>{"name": "documents_read_page", "arguments": {"document": "d1"}}</tool_call>', "bad_arguments"),
        ('<tool_call>{"name": "documents_read_page", "arguments": "d1"}</tool_call>', "bad_arguments"),
    ],
)
async def test_a_tool_call_is_taken_for_what_it_is(engine: EngineClient, text: str, problem: str) -> None:
    parsed = await made_to_say(engine, text)
    assert parsed.turn.kind is TurnKind.TOOLS
    assert [each.request.problem for each in parsed.calls] == [problem]


async def test_an_answer_without_a_tool_call_says_that_enough_was_read(engine: EngineClient) -> None:
    parsed = await made_to_say(engine, "J'ai lu le dossier.")
    assert (parsed.turn.kind, parsed.text) == (TurnKind.ANSWER, "J'ai lu le dossier.")


async def test_an_answer_that_is_cut_is_named(engine: EngineClient) -> None:
    answer = await call(engine, {**asked(final=True), "max_tokens": 5})
    assert parse_response(EXAMINER, answer.body, final=True).turn.kind is TurnKind.TRUNCATED


# --- refusals --------------------------------------------------------------------------------------------------------


async def test_a_model_that_is_not_served_is_named(engine: EngineClient) -> None:
    with pytest.raises(EngineRejected) as raised:
        await call(engine, {**asked(), "model": "another"})
    assert raised.value.code == "engine.unknown_model"


async def of_length(engine: EngineClient, tokens: int) -> Json:
    """A last request whose prompt has about so many tokens."""

    def saying(words: int) -> Json:
        return {**asked(final=True), "messages": [{"role": "user", "content": "ⵣ " * words}]}

    one = {"max_tokens": 1}
    fewer, more = [(await call(engine, saying(words) | one)).usage.prompt_tokens for words in (100, 200)]
    return saying(100 + (tokens - fewer) * 100 // (more - fewer))


async def test_a_prompt_beyond_the_context_is_named(engine: EngineClient) -> None:
    with pytest.raises(EngineRejected) as raised:
        await call(engine, await of_length(engine, CONTEXT + 1_000))
    assert raised.value.code == "engine.context_exceeded"


async def test_a_prompt_that_leaves_too_little_room_for_the_answer_gives_one_that_is_cut(engine: EngineClient) -> None:
    """The server takes less than we ask for without a word; the answer says that it was cut."""
    answer = await call(engine, await of_length(engine, CONTEXT - 24))
    assert parse_response(EXAMINER, answer.body, final=True).turn.kind is TurnKind.TRUNCATED


async def test_what_it_cannot_take_is_refused_for_good(engine: EngineClient) -> None:
    with pytest.raises(EngineRejected) as raised:
        await call(engine, {**asked(), "temperature": "warm"})
    assert raised.value.code == "engine.request_rejected"
