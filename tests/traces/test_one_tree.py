"""A trace of one case, exported to a file, is one tree from intake to outbox, with no personal data in it.

A whole stack, an application full of planted strings, and in the middle of the work the case worker and the pool
worker are killed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from diwan.embedded.bootstrap import TENANT, bootstrap
from diwan.embedded.parts import Options, Parts
from diwan.embedded.supervisor import Stack
from diwan.store.database import Database
from diwan.store.tenants import WebhookRow, put_webhook
from diwan.tracing.names import ALLOWED
from tests.scenario.conftest import short_folder
from tests.scenario.office import Json, Office, follow_up, opening
from tests.scenario.test_no_leak import NAME, NUMBER, PLANTED, SAMPLE, TOLD, leaks
from tests.traces.receiver import Receiver, receiver
from tests.traces.spans_read import Read, problems_of_tree, read

SENDER = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
FOLLOW_UP = ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")


@pytest.fixture(scope="module")
async def hook() -> AsyncGenerator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture(scope="module")
async def traced(hook: Receiver) -> AsyncGenerator[Office]:
    """A stack that traces into a file of its home and tells a webhook."""
    folder = short_folder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIWAN_TRACE_FILE", str(folder / "spans.jsonl"))
        # Nothing of OpenTelemetry's own settings is followed.
        patch.setenv("OTEL_SDK_DISABLED", "true")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"host.name={TOLD}")
        stack = Stack(
            Options(home=folder / "home", port=0), bootstrap=lambda parts: _prepared(parts, hook), say=lambda _: None
        )
        await stack.start()
        try:
            async with httpx.AsyncClient(timeout=60.0, trust_env=False) as http:
                yield Office(stack, http)
        finally:
            await stack.stop()
            shutil.rmtree(folder)


async def _prepared(parts: Parts, hook: Receiver) -> None:
    await bootstrap(parts, clock=lambda: datetime.now(UTC), say=lambda _: None)
    secrets = parts.home.path / "webhooks"
    secrets.mkdir(exist_ok=True)
    (secrets / "portal").write_text("whsec_" + base64.b64encode(b"s" * 32).decode())
    owner = Database.connect(parts.postgres.url("diwan_owner"), role="diwan_owner", pool_size=1)
    async with owner.transaction(TENANT) as conn:
        await put_webhook(conn, TENANT, WebhookRow(TENANT, "portal", hook.url, "portal", active=True))
    await owner.dispose()


def spans_file(office: Office) -> Path:
    return office.stack.home.path.parent / "spans.jsonl"


def trace(office: Office, trace_id: str) -> list[Read]:
    return [span for span in read(spans_file(office)) if span.trace == trace_id]


def planted_application(reference: str) -> tuple[Json, dict[str, bytes]]:
    party = {"role": "applicant", "name": NAME, "language": "fr", "identity_number": NUMBER, "address": TOLD}
    document = f"CARTE NATIONALE\nNom : {NAME}\nNationalité : marocaine\nN° CIN : {NUMBER}\nNote : {TOLD}\n".encode()
    application = {
        "procedure": "direct-housing-aid",
        "reference": reference,
        "language": "fr",
        "parties": [party],
        "answers": {**SAMPLE["answers"], "identity_number": NUMBER, "residence": TOLD, "notary": NAME},
        "documents": [{"name": f"{NAME}.txt", "part": "d"}],
    }
    return application, {"d": document}


async def kill(office: Office, part: str) -> None:
    """kill -9; the supervisor starts it again."""
    pid = office.stack.pid(part)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for _ in range(600):
        if office.stack.pid(part) not in (pid, None):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{part} did not come back")


async def delivered(office: Office, hook: Receiver, number: str, type_: str) -> None:
    """Until the receiver has it and the span of the delivery is out."""
    for _ in range(600):
        there = [body for _, body in hook.got if (body["subject"], body["type"]) == (number, type_)]
        if there:
            key = {"diwan.event.type": type_, "http.response.status_code": "204"}
            if any(key.items() <= span.said.items() for span in read(spans_file(office))):
                return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{type_} of {number} was not delivered")


async def test_a_case_is_one_tree_whoever_is_killed(traced: Office, hook: Receiver) -> None:
    office = traced
    application, files = planted_application("one-tree")
    answer = await office.send(opening("one-tree", application), files)
    assert answer.status_code == 202, answer.text
    case, number = answer.json()["case"], answer.json()["number"]

    # In the middle of its work the case loses its worker, and the pool worker too.
    await office.case_when(case, lambda view: view["step"] != "receipt")
    await asyncio.gather(kill(office, "worker"), kill(office, "pool"))
    task = await office.at(case, "request_review")
    assert (await office.act("clerk", task, "reject", reason=f"Known to us: {TOLD}")).status_code == 200
    await office.at(case, "review")

    # Another event, of a sender that traces: it is of the case's tree, and linked to the sender's.
    event = follow_up("diwan.pieces.supplied", number, "one-tree-2", {"note": TOLD})
    event["traceparent"] = f"00-{FOLLOW_UP[0]}-{FOLLOW_UP[1]}-01"
    assert (await office.send(event)).status_code == 202
    again = await office.at(case, "request_review", visit=2)
    assert (await office.act("clerk", again, "reject", reason="Nothing else is needed.")).status_code == 200
    review = await office.at(case, "review", visit=2)
    await kill(office, "worker")
    edited = await office.act("clerk", review, "edit", reason=TOLD, changes={"result": "refused"})
    assert edited.status_code == 200, edited.text
    await office.approve("supervisor", await office.get("supervisor", f"/v1/tasks/{review['id']}"))
    await office.approve("authority", await office.at(case, "sign"))
    await office.closed(case)
    await delivered(office, hook, number, "diwan.case.closed")

    story = (await office.get("auditor", f"/v1/cases/{case}/trace"))["trace_id"]
    spans = trace(office, story)
    assert problems_of_tree(spans) == []
    by_process = {(span.process, span.name) for span in spans}
    assert by_process >= {
        ("diwan-web", "case.opened"),
        ("diwan-web", "POST /v1/events"),
        ("diwan-web", "POST /v1/tasks/{task}/{act}"),
        ("diwan-relay", "relay.ring"),
        ("diwan-relay", "outbox.deliver"),
        ("diwan-worker", "drain_inbox"),
        ("diwan-worker", "perform_step"),
        ("diwan-worker", "begin_run"),
        ("diwan-worker", "call_tool"),
        ("diwan-worker", "end_run"),
        ("diwan-pool", "call_model"),
        ("diwan-pool", "chat demo-rules"),
    }, by_process
    # All that was done for this case is in its tree, and nothing else is.
    of_case = [span for span in read(spans_file(office)) if span.said.get("diwan.case") == case]
    assert {span.trace for span in of_case} == {story}
    assert {span.said.get("diwan.case", case) for span in spans} == {case}
    assert FOLLOW_UP in [link for span in spans if span.name == "POST /v1/events" for link in span.links]

    # The context reached whom we call: the engine, which logs it, and the webhook.
    asked = [json.loads(line) for line in (office.stack.home.logs / "engine.log").read_text().splitlines()]
    reached = {(line["trace_id"], line["span_id"]) for line in asked if line.get("event") == "engine.asked"}
    chats = {(span.trace, span.id) for span in spans if span.name == "chat demo-rules"}
    assert chats
    assert chats <= reached
    told = [(headers, body) for headers, body in hook.got if body["subject"] == number]
    deliveries = {span.id for span in spans if span.name == "outbox.deliver"}
    assert {headers["traceparent"].split("-")[1] for headers, _ in told} == {story}
    assert {headers["traceparent"].split("-")[2] for headers, _ in told} <= deliveries
    assert {body["traceparent"].split("-")[1] for _, body in told} == {story}


async def test_under_a_senders_context_the_tree_hangs_there(traced: Office) -> None:
    application = {name: SAMPLE[name] for name in ("procedure", "language", "parties", "answers")}
    event = opening("sender", {**application, "reference": "sender"})
    event["traceparent"] = f"00-{SENDER[0]}-{SENDER[1]}-01"
    accepted = (await traced.send(event)).json()
    again = await traced.send(event)
    assert again.json() == accepted
    sent = await traced.send(follow_up("diwan.application.withdrawn", accepted["number"], "withdraw-sender", {}))
    assert sent.status_code == 202
    await traced.closed(accepted["case"])
    spans = trace(traced, SENDER[0])
    assert problems_of_tree(spans, remote_parent=SENDER[1]) == []
    assert len([span for span in spans if span.name == "POST /v1/events"]) == 3


async def test_cases_of_a_batch_have_trees_of_their_own(traced: Office) -> None:
    application = {name: SAMPLE[name] for name in ("procedure", "language", "parties", "answers")}
    events = [opening(name, {**application, "reference": name}) for name in ("batch-1", "batch-2")]
    headers = {"content-type": "application/cloudevents-batch+json"}
    answer = await traced.call("intake", "POST", "/v1/events", content=json.dumps(events), headers=headers)
    assert answer.status_code == 202, answer.text
    traces: set[str] = set()
    for accepted in answer.json():
        await traced.case_when(accepted["case"], lambda view: view["step"] != "receipt")
        spans = [span for span in read(spans_file(traced)) if span.said.get("diwan.case") == accepted["case"]]
        (found,) = {span.trace for span in spans}
        assert problems_of_tree(trace(traced, found)) == []
        assert "accept diwan.application.submitted" in {span.name for span in spans}
        traces.add(found)
    assert len(traces) == 2


async def test_nothing_but_what_is_listed_leaves_and_nothing_that_was_planted(traced: Office) -> None:
    spans = read(spans_file(traced))
    assert len(spans) > 50
    assert {name for span in spans for name in span.said} <= ALLOWED
    text = spans_file(traced).read_text()
    assert [word for word in (*PLANTED, "one-tree") if word in text] == []
    assert "host.name" not in text
    # Nor into figures and logs; the search itself finds what is there.
    figures = await scraped(traced)
    assert set(figures) == {"web", "worker", "pool", "relay", "sequencer"}
    assert [word for word in PLANTED for body in figures.values() if word in body] == []
    assert await asyncio.to_thread(leaks, traced.stack.home.logs) == []
    lines = [json.loads(line) for line in (traced.stack.home.logs / "web.log").read_text().splitlines()]
    told = [line for line in lines if line.get("event") == "http.answered" and line["route"] == "/v1/events"]
    assert told
    assert all({"tenant", "trace_id", "span_id"} <= set(line) for line in told)
    assert {line["trace_id"] for line in told if "case" in line} <= {span.trace for span in spans}


async def scraped(office: Office) -> dict[str, str]:
    """/metrics of every process, by its name."""
    ports: dict[str, Any] = json.loads((office.stack.home.run / "ports.json").read_text())
    found: dict[str, str] = {}
    for name, port in ports.items():
        if name.endswith("_health"):
            answer = await office.http.get(f"http://127.0.0.1:{port}/metrics")
            assert answer.status_code == 200
            found[name.removesuffix("_health")] = answer.text
    return found
