"""The demo engine speaks the protocol, says everywhere what it is, and fails on demand as an engine would."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agents.loop import Reason
from diwan.domain.errors import Unavailable
from diwan.domain.text import Language
from diwan.embedded.demo_engine.__main__ import failure_of
from diwan.embedded.demo_engine.app import CONTEXT_LENGTH, MODEL, create_app
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.pool.errors import EngineBusy
from tests.embedded.examination import DOSSIERS, HOUSING, dossier_of, engine, examine, run


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app()), base_url="http://engine") as client:
        yield client


# --- failures, through the real protocol ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (Mode.JUNK, Reason.JUNK),
        (Mode.NOT_JSON, Reason.JUNK),
        (Mode.TRUNCATE, Reason.TRUNCATED),
        (Mode.REFUSE, Reason.REFUSED),
        (Mode.EMPTY, Reason.EMPTY),
    ],
)
async def test_an_engine_that_keeps_failing_ends_the_run_with_its_reason(mode: Mode, reason: Reason) -> None:
    result = await run("fr-labels", Failure(mode))
    assert (result.reason, result.conclusion) == (reason, None)
    assert len(result.turns) == 3


@pytest.mark.parametrize("mode", [Mode.JUNK, Mode.NOT_JSON, Mode.TRUNCATE, Mode.REFUSE, Mode.EMPTY])
async def test_an_engine_that_fails_twice_is_forgiven(mode: Mode) -> None:
    result = await run("fr-labels", Failure(mode, times=2))
    assert result.reason is None
    assert result.values()["price"] == 650000


async def test_a_full_queue_and_a_crash_are_errors_of_transport() -> None:
    with pytest.raises(EngineBusy):
        await run("fr-labels", Failure(Mode.BUSY))
    with pytest.raises(Unavailable):
        await run("fr-labels", Failure(Mode.CRASH))


async def test_invented_quotes_establish_nothing() -> None:
    result = await run("fr-labels", Failure(Mode.WRONG_EVIDENCE))
    assert result.conclusion is not None
    assert result.conclusion.facts == []
    assert set(result.conclusion.rejected_claims) == set(result.conclusion.rejected_claims) & set(HOUSING.facts)
    assert len(result.conclusion.rejected_claims) == 7


async def test_obeying_a_document_gains_only_what_a_person_is_warned_of() -> None:
    """Values must stand in the quote: the price that the order names does not become the price of the promise."""
    dossier, language, _ = dossier_of(DOSSIERS / "fr-instruction")
    dossier.flags = ("instruction_suspected",)
    async with engine(Failure(Mode.OBEY_INSTRUCTIONS)) as client:
        result = await examine(client, HOUSING, language, dossier)
    assert result.conclusion is not None
    assert "instruction_suspected" in result.conclusion.warnings
    assert not {"permit_date", "identity_number", "national", "owns_dwelling"} & set(result.values())


# --- the protocol ---------------------------------------------------------------------------------------------------


def request(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **more}


async def test_it_says_everywhere_that_it_is_no_language_model(http: httpx.AsyncClient) -> None:
    answers = [
        await http.get("/health"),
        await http.get("/version"),
        await http.get("/v1/models"),
        await http.post("/v1/chat/completions", json=request()),
        await http.post("/v1/chat/completions", json=request(model="gpt")),
    ]
    for answer in answers:
        assert answer.headers["x-diwan-demo"] == "fixed rules, not a language model"
    assert "not a language model" in answers[1].json()["version"]
    assert "not a language model" in answers[2].json()["data"][0]["owned_by"]
    said = answers[3].json()
    assert said["system_fingerprint"] == "demo-rules-1-not-a-language-model"
    assert said["model"] == "demo-rules"
    assert "not a language model" in said["choices"][0]["message"]["content"]


@pytest.mark.parametrize("language", Language)
async def test_its_summary_says_so_too(language: Language) -> None:
    dossier, _, _ = dossier_of(DOSSIERS / "fr-labels")
    async with engine() as client:
        result = await examine(client, HOUSING, language, dossier)
    assert result.examination is not None
    words = {
        Language.AR: "وليست نموذجا لغويا",
        Language.FR: "non par un modèle",
        Language.EN: "not by a language model",
    }
    assert words[language] in result.examination.summary


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"model": "demo-rules"}', 400),
        (b'{"model": "demo-rules", "messages": []}', 400),
        (b'{"model": "demo-rules", "messages": [1]}', 400),
        (b"[" * 100_000, 400),
        (json.dumps(request(stream=True)).encode(), 400),
        (json.dumps(request(model="mistral")).encode(), 404),
        (json.dumps(request(messages=[{"role": "user", "content": "x" * 4 * (CONTEXT_LENGTH + 9)}])).encode(), 400),
    ],
)
async def test_requests_it_cannot_take_are_refused_as_vllm_does(
    http: httpx.AsyncClient, body: bytes, status: int
) -> None:
    answer = await http.post("/v1/chat/completions", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status


async def test_a_schema_that_is_not_its_own_is_declined_and_not_faked(http: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"verdict": {"type": "string"}}}
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await http.post("/v1/chat/completions", json=request(response_format=format_))
    message = answer.json()["choices"][0]["message"]
    assert message["content"] is None
    assert "not a language model" in message["refusal"]


async def test_a_prefix_that_was_seen_is_cached_for_its_own_salt_only(http: httpx.AsyncClient) -> None:
    async def cached(salt: str, *texts: str) -> int:
        messages = [{"role": "user", "content": text} for text in texts]
        answer = await http.post("/v1/chat/completions", json=request(messages=messages, cache_salt=salt))
        return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])

    long = "a long beginning " * 40
    assert await cached("one", long) == 0
    assert await cached("one", long, "and more") >= 150
    assert await cached("two", long) == 0
    metrics = (await http.get("/metrics")).text
    assert 'vllm:prefix_cache_hits_total{model_name="demo-rules"} 0' not in metrics
    for name in ("num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_queries_total"):
        assert f"vllm:{name}{{" in metrics


async def test_a_run_s_calls_share_their_prefix() -> None:
    result = await run("fr-labels")
    reading = [turn for turn in result.turns if not turn.final]
    for turn in reading[1:]:
        assert turn.cached_tokens > 0.6 * turn.prompt_tokens


def test_failures_are_named_on_the_command_line() -> None:
    assert failure_of("busy:2") == Failure(Mode.BUSY, times=2)
    assert failure_of("junk") == Failure(Mode.JUNK)
    with pytest.raises(ValueError, match="nonsense"):
        failure_of("nonsense")
