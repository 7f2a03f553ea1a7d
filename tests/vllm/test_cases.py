"""A whole case through a real vLLM: nonsense of the right form ends with people, never with a grant by itself."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from agents.loop import TurnKind
from agents.parse import parse_response
from agents.registry import spec_of
from diwan.domain.facts import PageText
from tests.scenario import by_hand
from tests.scenario.office import EXAMPLE, Json, Office
from tests.vllm import record
from tests.vllm.server import CONTEXT, NAME, VERSION, weights_digest

pytestmark = pytest.mark.timeout(1_200)

# Both would be granted if what their documents say were read.
GRANTED = ("01-arabic-granted-100000", "06-french-unreadable-scan")
NEEDS_PEOPLE = frozenset({"request_review", "review"})
# Tokens that are cached together (128 on CPUs), and those that end a prompt for the answer to begin.
_BLOCK = 128 + 16


async def first_stop(office: Office, case: str) -> Json:
    """The case where its agent's run ended: before the first person."""
    return await office.case_when(case, lambda view: view["kind"] in ("task", "end"), within_s=600)


@pytest.mark.parametrize("name", GRANTED)
async def test_nonsense_of_the_right_form_ends_with_people_who_finish_the_case(office: Office, name: str) -> None:
    folder = EXAMPLE / name
    accepted = await office.submit(folder, f"vllm-{name}")
    case = accepted["case"]
    view = await first_stop(office, case)

    # Somebody has to look; nothing was granted, nothing decided, and only the receipt went out.
    assert (view["status"], view["result"]) == ("open", None)
    assert view["step"] in NEEDS_PEOPLE
    assert [task["status"] for task in view["tasks"]] == ["open"]
    assert [letter["kind"] for letter in view["letters"]] == ["receipt"]
    proposal = view["proposal"]
    assert proposal["assessment"]["result"] != "granted"

    # What the model claimed did not hold: each claim is named as rejected, and none is a fact.
    calls = record.calls_of(office.stack, case, cipher := await record.cipher_of(office.stack, case))
    claimed = claims_of(calls[-1])
    pages = await record.pages_of(office.stack, case, cipher)
    shown = [fact for fact in proposal["facts"] if fact["provenance"] == "document"]
    assert claimed
    assert all(stands(fact, pages) for fact in shown)
    assert {fact["name"] for fact in shown} | set(proposal["rejected_claims"]) == claimed
    assert proposal["rejected_claims"]
    assert any(warning.endswith(f".{proposal['rejected_claims'][0]}") for warning in proposal["warnings"])

    # People read the documents themselves and finish the case as it should come out.
    closed = await by_hand.finish(office, folder, accepted)
    expected = json.loads((folder / "expected.json").read_text())
    assert (closed["result"], closed["proposal"]["assessment"]["amount"]) == (expected["result"], expected["amount"])
    assert closed["letters"][-1]["kind"] == "decision"


def claims_of(call: record.Call) -> set[str]:
    """The facts that the run's typed answer claims, as we parse it."""
    assert call.final
    parsed = parse_response(spec_of("dossier-examiner"), json.dumps(call.answer).encode(), final=True)
    assert parsed.turn.kind is TurnKind.ANSWER
    assert parsed.answer is not None
    return {claim["fact"] for claim in parsed.answer.model_dump()["claims"]}


def stands(fact: Json, pages: list[PageText]) -> bool:
    """Whether the quote is on the page, to the letter but for spaces."""
    evidence = fact["evidence"]
    page = next(page for page in pages if (page.document, page.page) == (evidence["document"], evidence["page"]))
    return "".join(evidence["quote"].split()) in "".join((page.text + page.second_text).split())


async def test_each_call_is_on_record_as_it_was_sent_and_answered(office: Office) -> None:
    accepted = await office.submit(EXAMPLE / "03-french-permit-too-old", "vllm-record")
    case = accepted["case"]
    await first_stop(office, case)
    calls = record.calls_of(office.stack, case, await record.cipher_of(office.stack, case))

    assert [(call.call, call.attempt, call.status) for call in calls] == [
        (number, 1, "answered") for number in range(1, len(calls) + 1)
    ]
    assert [call.final for call in calls] == [False] * (len(calls) - 1) + [True]
    assert len(calls) >= 3
    for call in calls:
        assert call.answer is not None
        answer, usage = call.answer, call.answer["usage"]
        # The request: ours to the byte, with what an audit and a tenant's privacy ask for.
        assert call.request["model"] == answer["model"] == NAME
        assert call.request["return_token_ids"] is True
        assert len(call.request["cache_salt"]) == 64
        assert (call.request["temperature"], call.request["seed"]) == (0, 1)
        assert ("response_format" in call.request) is call.final
        assert call.request["tools"] == calls[0].request["tools"]
        assert (call.request["tool_choice"] == "none") is call.final
        # The answer: tokens as numbers, counted alike by us, by the engine and on the ledger.
        assert len(answer["prompt_token_ids"]) == usage["prompt_tokens"] == call.usage["prompt_tokens"] > 0
        assert len(answer["choices"][0]["token_ids"]) == usage["completion_tokens"] == call.usage["completion_tokens"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == call.usage["cached_tokens"]
        assert call.engine == answer["system_fingerprint"]
        assert call.engine.startswith(f"vllm-{VERSION}-")
    assert len({call.request["cache_salt"] for call in calls}) == 1
    # Each prompt begins with the one before, the last one's too: the engine has all of that but for a block's rest.
    for before, call in itertools.pairwise(calls):
        assert call.usage["cached_tokens"] > before.usage["prompt_tokens"] - _BLOCK

    entries = record.model_entries(office.stack, case)
    assert [entry["detail"]["call"] for entry in entries] == [call.call for call in calls]
    for entry, call in zip(entries, calls, strict=True):
        assert entry["model"]["name"] == NAME
        assert entry["model"]["weights_digest"] == weights_digest()
        assert entry["model"]["engine"] == call.engine
        assert {name: entry["detail"][name] for name in call.usage} == call.usage


async def test_a_dossier_longer_than_the_context_goes_to_a_person(office: Office, tmp_path: Path) -> None:
    """Its first page fills the context once it is read: the engine refuses, and no retry would help."""
    folder = tmp_path / "long"
    (folder / "documents").mkdir(parents=True)
    sample = EXAMPLE / "03-french-permit-too-old"
    application = json.loads((sample / "application.json").read_text())
    (folder / "application.json").write_text(json.dumps({**application, "documents": {}}))
    (folder / "documents" / "long.txt").write_text("ⵣⵉⵡⴰⵏ" * (CONTEXT // 5))  # three tokens a letter
    case = (await office.submit(folder, "vllm-long"))["case"]
    view = await first_stop(office, case)
    assert view["step"] in NEEDS_PEOPLE
    assert "agent_failed.engine.context_exceeded" in view["proposal"]["warnings"]
    rows = record.attempts(office.stack, case)
    assert [(row["call"], row["attempt"], row["status"]) for row in rows] == [(1, 1, "answered"), (2, 1, "failed")]
