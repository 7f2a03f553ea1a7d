"""Spans in one process: nothing but what is listed leaves, units are whole, and off means off."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.contextvars import clear_contextvars, get_contextvars

from diwan.domain.errors import InvalidInput
from diwan.tracing import genai, names, spans
from diwan.tracing.context import span_id_of, trace_id_of, usable_traceparent
from diwan.tracing.export import OpenTelemetry
from tests.traces.spans_read import Read, problems_of_tree, read

PLANTED = "Zoubida Planterose"
SENDER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Spans of this process go here during the test."""
    path = tmp_path / "spans.jsonl"
    path.touch()
    spans.use(OpenTelemetry("test", file=path, endpoint=""))
    clear_contextvars()
    yield path
    spans.use(None)


def only(found: list[Read]) -> Read:
    (span,) = found
    return span


def test_a_value_that_somebody_wrote_does_not_leave(file: Path) -> None:
    said: dict[str, Any] = {names.STEP: PLANTED, names.TENANT: "demo", "applicant": "demo", names.ROUTE: "/v1/x?q=é"}
    with spans.span(f"look for {PLANTED}", attributes=said):
        pass
    span = only(read(file))
    assert (span.name, span.said) == ("unnamed", {names.TENANT: "demo"})
    assert "Zoubida" not in file.read_text()


def test_no_attribute_of_content_is_on_the_list() -> None:
    words = ("message", "prompt", "content", "exception.", "query", "url.", "body", "user", "input.", "output.")
    assert [name for name in names.ALLOWED for word in words if word in name] == []
    assert {name for name in names.ALLOWED if name.startswith("gen_ai.")} == genai.NAMES


@pytest.mark.parametrize(
    ("error", "code"),
    [(ValueError(PLANTED), "ValueError"), (InvalidInput("form.wrong", PLANTED, ""), "form.wrong")],
)
def test_a_failure_leaves_its_machine_name_only(file: Path, error: Exception, code: str) -> None:
    with pytest.raises(type(error)), spans.span("failing"):
        raise error
    span = only(read(file))
    assert (span.failed, span.said) == (True, {names.ERROR: code})
    assert "Zoubida" not in file.read_text()


def test_a_cancelled_piece_of_work_says_so(file: Path) -> None:
    with pytest.raises(asyncio.CancelledError), spans.span("cancelled"):
        raise asyncio.CancelledError
    assert only(read(file)).said == {names.ERROR: "cancelled"}


def test_what_happens_inside_leaves_with_the_whole_or_not_at_all(file: Path) -> None:
    """So whoever is killed before the whole ends leaves no child without a parent."""
    with spans.span("whole", of=SENDER):
        with spans.span("part"), spans.span("part of it"):
            pass
        assert file.read_text() == ""
    found = read(file)
    assert problems_of_tree(found, remote_parent=span_id_of(SENDER)) == []
    assert len(file.read_text().splitlines()) == 1
    assert {span.trace for span in found} == {trace_id_of(SENDER)}


async def test_what_ends_after_the_work_around_it_still_finds_its_parent(file: Path) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        with spans.span("inner"):
            began.set()
            await go_on.wait()

    with spans.span("outer"):
        task = asyncio.create_task(late())
        await began.wait()
    go_on.set()
    await task
    assert [span.name for span in read(file)] == ["outer", "inner"]
    assert problems_of_tree(read(file)) == []


def test_the_root_of_a_case_is_out_before_anything_hangs_under_it(file: Path) -> None:
    with spans.request("POST", sender=SENDER) as work:
        kept = spans.case_opened("demo", "c-1")
        assert only(read(file)).name == "case.opened"
        spans.concerns("demo", "c-1", kept)
        work.name = "POST /v1/events"
    with spans.span("drain_inbox", of=kept):
        assert spans.traceparent() != kept
    assert problems_of_tree(read(file), remote_parent=span_id_of(SENDER)) == []
    assert [span.said.get(names.CASE) for span in read(file)] == ["c-1", "c-1", None]


def test_a_request_about_no_case_is_a_tree_of_its_own_or_of_its_sender(file: Path) -> None:
    for sender in ("", SENDER):
        with spans.request("GET", sender=sender):
            pass
    own, senders = read(file)
    assert own.parent == ""
    assert (senders.trace, senders.parent) == (trace_id_of(SENDER), span_id_of(SENDER))


def test_a_request_about_a_case_of_another_trace_is_linked_to_its_sender(file: Path) -> None:
    of = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
    with spans.request("POST", sender=SENDER):
        spans.concerns("demo", "c-1", of)
    span = only(read(file))
    assert (span.trace, span.parent) == ("c" * 32, "d" * 16)
    assert span.links == ((trace_id_of(SENDER), span_id_of(SENDER)),)


def test_log_lines_name_the_span_while_it_lasts(file: Path) -> None:
    with spans.span("outer", of=SENDER):
        outer = get_contextvars()
        with spans.span("inner"):
            assert get_contextvars()["span_id"] != outer["span_id"]
        assert get_contextvars() == outer
        assert outer["trace_id"] == trace_id_of(SENDER)
        assert spans.trace_id() == trace_id_of(SENDER)
    assert "trace_id" not in get_contextvars()
    with spans.request("POST"):
        spans.concerns("demo", "c-1", SENDER)
        assert get_contextvars()["case"] == "c-1"
        assert get_contextvars()["trace_id"] == trace_id_of(SENDER)


def test_without_a_tracer_there_is_nothing_and_a_senders_context_is_kept() -> None:
    spans.use(None)
    with spans.span("nothing", attributes={names.STEP: "x"}) as work:
        work.say({names.CALL: 1})
        assert spans.traceparent() == ""
    with spans.request("POST", sender=SENDER):
        assert spans.case_opened("demo", "c-1") == SENDER


def test_a_process_that_does_not_trace_loads_nothing_of_it() -> None:
    code = (
        "import sys; from diwan.tracing.setup import configure;"
        "import diwan.relay, diwan.worker, activities.observed, activities.engine_call;"
        "configure('relay', file=None, endpoint='');"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'prometheus_client'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_lines_are_requests_of_the_protocol(file: Path) -> None:
    with spans.span("chat demo", spans.CLIENT, {genai.INPUT_TOKENS: 12, genai.REQUEST_MODEL: "demo"}, of=SENDER):
        pass
    line = json.loads(file.read_text())
    parsed = json_format.ParseDict(line, ExportTraceServiceRequest())  # unknown fields and wrong types raise
    span = parsed.resource_spans[0].scope_spans[0].spans[0]
    assert span.kind == span.SPAN_KIND_CLIENT
    assert {attribute.key for attribute in span.attributes} == {genai.INPUT_TOKENS, genai.REQUEST_MODEL}
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano


def test_a_collector_gets_the_same_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[dict[str, Any]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append({"path": self.path, "type": self.headers["content-type"], **json.loads(body)})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # not asked: the collector is inside
    spans.use(OpenTelemetry("test", file=None, endpoint=f"http://127.0.0.1:{server.server_port}/"))
    try:
        for _ in range(3):
            with spans.span("sent"):
                pass
        spans.flush()
    finally:
        spans.use(None)
        server.shutdown()
        server.server_close()
    assert {each["path"] for each in got} == {"/v1/traces"}
    assert sum(len(each["resourceSpans"]) for each in got) == 3


def test_nobody_waits_for_a_collector_or_a_disk_that_does_not_take_them(tmp_path: Path) -> None:
    from diwan import metrics

    before = sum(metrics.SPANS_LOST.values.values())
    spans.use(OpenTelemetry("test", file=tmp_path / "no" / "folder", endpoint="http://127.0.0.1:9"))
    try:
        with spans.span("lost"):
            pass
        spans.flush()
    finally:
        spans.use(None)
    assert sum(metrics.SPANS_LOST.values.values()) == before + 2


NO_TRACE, NO_SPAN = f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01"


@pytest.mark.parametrize("value", ["", "00-x", NO_TRACE, NO_SPAN, "é" * 55])
def test_a_bad_context_is_none(value: str) -> None:
    assert usable_traceparent(value) == ""
