"""What the client makes of answers, and what it sends again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Generator
from email.parser import BytesParser
from email.policy import HTTP

import httpx
import pytest

from diwan.cli.client import Client
from diwan.cli.problems import problem_of
from diwan.domain.errors import (
    Conflict,
    DiwanError,
    InvalidInput,
    NotFound,
    Refused,
    Retry,
    TooLarge,
    Unauthenticated,
    Unavailable,
)


@pytest.mark.parametrize(
    ("status", "kind", "exit_code"),
    [
        (400, InvalidInput, 2),
        (401, Unauthenticated, 4),
        (403, Refused, 4),
        (404, NotFound, 3),
        (409, Conflict, 5),
        (413, TooLarge, 2),
        (422, InvalidInput, 2),
        (429, Retry, 75),
        (500, DiwanError, 1),
        (503, Retry, 75),
        (418, DiwanError, 1),
    ],
)
def test_each_status_has_its_error_and_exit_code(status: int, kind: type[DiwanError], exit_code: int) -> None:
    error = problem_of(status, {"code": "a.code", "detail": "What is wrong.", "remedy": "What to do."})
    assert type(error) is kind
    assert (error.exit_code, error.code, error.message, error.remedy) == (
        exit_code,
        "a.code",
        "What is wrong.",
        "What to do.",
    )


def test_fields_of_a_problem_are_listed_under_its_remedy() -> None:
    error = problem_of(
        422, {"detail": "No.", "remedy": "See.", "errors": [{"pointer": "/data/x", "detail": "Too long."}]}
    )
    assert error.remedy == "See.\n/data/x: Too long."


@pytest.mark.parametrize("body", [None, [], "text", {"detail": 3, "errors": "x"}, {"errors": [1, None]}])
def test_an_answer_that_is_no_problem_is_still_an_error_with_a_remedy(body: object) -> None:
    error = problem_of(503, body)
    assert error.code == "http.503"
    assert "503" in error.message
    assert "again" in error.remedy


class Scripted:
    """A transport that answers from a list: a response, or an exception to raise. Remembers the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, token: Callable[[], str] = lambda: "secret") -> Client:
        return Client("http://127.0.0.1:1", token, transport=httpx.MockTransport(self), pause=self.pauses.append)


def ok(**body: object) -> httpx.Response:
    return httpx.Response(200, json=body)


def test_an_act_is_sent_again_under_the_same_key_until_it_is_answered() -> None:
    script = Scripted(httpx.ReadTimeout("slow"), httpx.Response(503), ok(done=True))
    assert script.client().act("/v1/tasks/t/approve", {"digest": "d"}) == {"done": True}
    keys = {request.headers["idempotency-key"] for request in script.requests}
    assert len(script.requests) == 3
    assert len(keys) == 1


def test_a_packed_answer_is_not_unpacked() -> None:
    """A service that an auditor asks is not trusted: a few bytes, packed twice, fill the memory of whoever unpacks."""

    def answer() -> httpx.Response:
        read: list[bytes] = []

        def packed() -> Generator[bytes]:
            read.append(b"")
            yield gzip.compress(gzip.compress(bytes(100)))

        answers.append(read)
        return httpx.Response(200, headers={"content-encoding": "gzip, gzip"}, content=packed())

    answers: list[list[bytes]] = []
    script = Scripted(answer(), httpx.Response(200, headers={"content-encoding": "identity"}, content=b"plain"))
    with pytest.raises(Unavailable) as error:
        script.client().download("/ledger/checkpoint")
    assert error.value.code == "cli.answer_packed"
    assert answers == [[]], "nothing of it is read"
    assert script.client().download("/ledger/checkpoint") == b"plain"
    assert {request.headers["accept-encoding"] for request in script.requests} == {"identity"}


def test_two_acts_have_two_keys() -> None:
    script = Scripted(ok(), ok())
    client = script.client()
    client.act("/v1/tasks/t/claim", {})
    client.act("/v1/tasks/t/claim", {})
    assert len({request.headers["idempotency-key"] for request in script.requests}) == 2


def test_a_busy_service_is_asked_four_times_and_waits_as_told_but_never_long() -> None:
    script = Scripted(*(httpx.Response(503, headers={"Retry-After": "3600"}) for _ in range(4)))
    with pytest.raises(Retry):
        script.client().get("/v1/cases")
    assert len(script.requests) == 4
    assert script.pauses == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 500])
def test_what_will_never_succeed_is_asked_once(status: int) -> None:
    script = Scripted(httpx.Response(status))
    with pytest.raises(DiwanError):
        script.client().get("/v1/cases")
    assert len(script.requests) == 1


def test_nothing_listening_says_how_to_start_the_service() -> None:
    script = Scripted(httpx.ConnectError("refused"))
    with pytest.raises(Unavailable) as caught:
        script.client().get("/v1/cases")
    assert "diwan up" in caught.value.remedy
    assert caught.value.exit_code == 75


def test_a_page_that_is_not_json_is_not_taken_for_an_answer() -> None:
    script = Scripted(httpx.Response(200, text="<html>login</html>"))
    with pytest.raises(DiwanError, match="not what this service"):
        script.client().get("/v1/cases")


def test_the_token_goes_into_the_header_and_is_fetched_once() -> None:
    fetched: list[int] = []

    def token() -> str:
        fetched.append(1)
        return "secret"

    script = Scripted(ok(), ok())
    client = script.client(token)
    client.get("/v1/cases", {"status": "", "limit": 5})
    client.get("/v1/cases")
    assert len(fetched) == 1
    assert script.requests[0].headers["authorization"] == "Bearer secret"
    assert script.requests[0].url.query == b"limit=5"


def test_an_event_with_documents_is_one_multipart_body_whose_parts_have_the_names_given() -> None:
    script = Scripted(ok())
    script.client().send_event({"id": "1", "data": {"name": "أمينة"}}, {"document-1": b"%PDF-\x00\r\n--x"})
    request = script.requests[0]
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + request.content).iter_parts())
    assert [part.get_param("name", header="content-disposition") for part in parts] == ["event", "document-1"]
    assert parts[0].get_content_type() == "application/cloudevents+json"
    assert "أمينة".encode() in parts[0].get_content()
    assert b"%PDF-\x00\r\n--x" in request.content


def test_an_event_without_documents_is_a_structured_cloudevent() -> None:
    script = Scripted(ok())
    script.client().send_event({"id": "1"}, {})
    assert script.requests[0].headers["content-type"] == "application/cloudevents+json"
    assert json.loads(script.requests[0].content) == {"id": "1"}
