"""The demo engine: speaks the protocol, says what it is, reads dossiers that nobody tuned it on, fails on demand."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema
import pytest
import yaml

from agents.dossier import SubmittedDocument
from agents.loop import Reason
from diwan.documents.extract import extract
from diwan.domain.errors import Unavailable
from diwan.domain.facts import PageText
from diwan.domain.text import Language
from diwan.embedded.demo_engine.__main__ import failure_of
from diwan.embedded.demo_engine.app import CONTEXT_LENGTH, MODEL, create_app
from diwan.embedded.demo_engine.examine import examine as demo_examine
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.embedded.demo_engine.task import FactAsked, PageRead, Task
from diwan.pool.engine import EngineClient
from diwan.pool.errors import EngineBusy
from diwan.procedures.examples import example_dossiers, example_text
from diwan.procedures.load import load_procedure
from tests.embedded.examination import Dossier, Run, examine

HOUSING = load_procedure(example_text("direct-housing-aid"))
FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "dossiers").glob("*/expected.json"))
ANY_FACTS = {
    "price": "integer", "rooms": "integer", "permit_date": "date", "identity_number": "text", "bank_account": "text",
    "national": "boolean", "owns_dwelling": "boolean", "first_sale": "boolean", "notary": "text", "seats": "integer",
}  # fmt: skip
SINGLE: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "single_documents.yaml").read_text(encoding="utf-8")
)


def engine(failure: Failure | None = None, **options: Any) -> EngineClient:
    return EngineClient("http://engine", transport=httpx.ASGITransport(create_app(failure)), **options)


class Extracted(Dossier):
    """A sample dossier, read as the service reads it, with no word of the sender's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(documents=[])
        paths = sorted([*folder.glob("documents/*"), *folder.glob("follow-ups/documents/*")])
        self._read = {path.name: extract(path.read_bytes(), path.name) for path in paths}

    @property
    def submitted(self) -> list[SubmittedDocument]:
        return [
            SubmittedDocument(name, len(read.pages), unreadable=read.unreadable, flags=tuple(read.flags))
            for name, read in self._read.items()
        ]

    @property
    def pages(self) -> list[PageText]:
        return [page for read in self._read.values() for page in read.pages]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app()), base_url="http://engine") as client:
        yield client


def dossier_of(folder: Path) -> tuple[Dossier, Language, dict[str, object]]:
    """Each .txt is a document, a form feed a new page; its name is what the sender says it is."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    documents = [(path.stem, path.read_text(encoding="utf-8").split("\f")) for path in sorted(folder.glob("*.txt"))]
    return Dossier(documents), Language(expected["language"]), expected["facts"]


async def run(folder: str, failure: Failure | None = None, **options: Any) -> Run:
    dossier, language, _ = dossier_of(Path(__file__).parent / "dossiers" / folder)
    async with engine(failure, **options) as client:
        return await examine(client, HOUSING, language, dossier)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
async def test_dossiers_of_many_hands_are_read_and_every_claim_holds(folder: Path) -> None:
    dossier, language, expected = dossier_of(folder)
    async with engine() as client:
        result = await examine(client, HOUSING, language, dossier)
    assert result.values() == expected
    assert result.conclusion is not None
    assert result.conclusion.rejected == []
    assert set(result.conclusion.pieces) == set(HOUSING.pieces)


@pytest.mark.parametrize("folder", example_dossiers("direct-housing-aid"), ids=lambda folder: folder.name)
async def test_the_shipped_dossiers_are_read_from_their_pdfs(folder: Path) -> None:
    application, expected = (json.loads((folder / name).read_bytes()) for name in ("application.json", "expected.json"))
    async with engine() as client:
        result = await examine(client, HOUSING, Language(application["language"]), Extracted(folder))
    assert result.values() == expected["facts"]["document"]


@pytest.mark.parametrize("document", SINGLE, ids=lambda document: " ".join(document["text"].split())[:40])
async def test_single_documents_are_told_apart_and_read(document: dict[str, Any]) -> None:
    dossier = Dossier([("", [document["text"]])])
    async with engine() as client:
        result = await examine(client, HOUSING, Language(document["language"]), dossier)
    assert result.examination is not None
    assert [reading.piece for reading in result.examination.documents] == [document["piece"]]
    assert result.values() == document["facts"]
    assert result.conclusion is not None
    assert result.conclusion.rejected == []


@pytest.mark.parametrize("language", Language)
async def test_the_language_of_the_instructions_is_not_that_of_the_documents(language: Language) -> None:
    """The same dossiers, told in another language: labels of the documents' own language still count."""
    for folder in FOLDERS:
        dossier, _, expected = dossier_of(folder)
        async with engine() as client:
            result = await examine(client, HOUSING, language, dossier)
        assert result.values() == expected, folder.name


async def test_names_of_files_and_senders_words_play_no_part() -> None:
    dossier, language, expected = dossier_of(FOLDERS[0])
    anonymous = Dossier([("", pages) for _, pages in reversed(dossier.documents)])
    async with engine() as client:
        result = await examine(client, HOUSING, language, anonymous)
    assert result.values() == expected


async def test_every_page_is_read_once_and_the_answer_is_of_the_schema() -> None:
    pages = ["PROMESSE DE VENTE\nPremière page", "Prix : 100 000 DH", "Nombre de pièces : 2"]
    async with engine() as client:
        result = await examine(client, HOUSING, Language.FR, Dossier([("", pages), ("", ["PERMIS D'HABITER"])]))
    assert result.values() == {"price": 100000, "rooms": 2}
    asked = [
        call["function"]["arguments"]
        for message in cast("list[dict[str, Any]]", result.requests[-1]["messages"])
        for call in message.get("tool_calls") or []
        if call["function"]["name"] == "documents_read_page"
    ]
    assert len(asked) == len(set(asked)) == 4
    assert result.examination is not None
    schema = cast("Any", result.requests[-1]["response_format"])["json_schema"]["schema"]
    jsonschema.validate(result.examination.model_dump(mode="json"), schema)


async def test_what_is_in_no_document_is_not_claimed() -> None:
    async with engine() as client:
        result = await examine(client, HOUSING, Language.EN, Dossier([("sale_promise", ["A shopping list: 3 eggs"])]))
    assert result.values() == {}
    assert result.conclusion is not None
    assert result.conclusion.pieces == {}
    assert result.conclusion.warnings == ["piece_not_recognised.sale_promise"]


async def test_it_reads_another_procedure_by_the_labels_it_is_told() -> None:
    text = example_text("direct-housing-aid").replace("direct-housing-aid", "other")
    procedure = load_procedure(text)
    facts = {"seats": procedure.facts["rooms"].model_copy(update={"label": _label("Nombre de places assises")})}
    pieces = {"hall_plan": procedure.pieces["sale_promise"].model_copy(update={"label": _label("Plan de la salle")})}
    source = facts["seats"].source.model_copy(update={"pieces": ["hall_plan"]})
    facts["seats"] = facts["seats"].model_copy(update={"source": source})
    other = procedure.model_copy(update={"facts": facts, "pieces": pieces})
    page = "PLAN DE LA SALLE DES FÊTES\nNombre de places assises : 240\nIssues : 4"
    async with engine() as client:
        result = await examine(client, other, Language.FR, Dossier([("", [page])]))
    assert result.values() == {"seats": 240}


def _label(text: str) -> Any:
    return HOUSING.title.model_copy(update={"ar": text, "fr": text, "en": text})


@pytest.mark.parametrize(
    "line",
    [
        "1" * 3_000 + "a ",
        "12 " * 1_000,
        "n'est inscrit " * 500,
        "Prix : " * 1_000,
        "le 3 mars 2024 " * 500,
        "لم يسبق " * 800,
    ],
    ids=lambda line: line[:12],
)
def test_no_line_takes_long(line: str) -> None:
    """Patterns that go back and forth would let one document stop the engine."""
    facts = [FactAsked(name, kind, ("p",), name, "") for name, kind in ANY_FACTS.items()]
    task = Task(
        "fr", {"p": "promesse de vente"}, facts, {"d1": 1}, "", [PageRead("d1", 1, "Promesse de vente\n" + line * 3)]
    )
    began = time.process_time()
    answer = demo_examine(task)
    assert answer["documents"] == [{"document": "d1", "piece": "p"}]
    assert time.process_time() - began < 4


async def test_a_document_that_gives_orders_is_reported_and_not_obeyed() -> None:
    result = await run("fr-instruction")
    assert result.values()["price"] == 640000
    assert result.conclusion is not None
    assert result.conclusion.warnings == ["instruction_suspected"]


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
    dossier, language, _ = dossier_of(Path(__file__).parent / "dossiers" / "fr-instruction")
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
    dossier, _, _ = dossier_of(FOLDERS[0])
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
