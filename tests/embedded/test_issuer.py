"""The demo issuer: its tokens pass the same verifier that a ministry's do, and it hides nothing of what it is."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from diwan.domain.actor import ActorKind, Role
from diwan.domain.errors import Conflict, NeedsPerson, Unauthenticated, Unavailable
from diwan.embedded import issuer, issuer_app, issuer_tokens
from diwan.embedded.issuer import fetch_token, request_token
from diwan.embedded.issuer_app import DEMO_USERS, NOTICE
from diwan.web.auth import TokenVerifier
from diwan.web.jwks import http_fetch

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
URL = "http://127.0.0.1:18090"
SECRETS = {client: f"secret-of-{client}" for client in DEMO_USERS}
KEY = issuer_tokens.new_key()
GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = issuer_app.create_app(URL, KEY, SECRETS, clock=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
        yield client


@pytest.mark.parametrize(("client", "role"), list(DEMO_USERS.items()))
async def test_each_demo_user_gets_a_token_that_the_service_takes(
    http: httpx.AsyncClient, client: str, role: Role
) -> None:
    answer = await http.post("/token", data=GRANT, auth=(client, SECRETS[client]))
    assert answer.status_code == 200
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 3600)
    assert answer.headers["cache-control"] == "no-store"
    actor = await TokenVerifier(URL, "diwan", http_fetch(http), clock=lambda: NOW).verify(answer.json()["access_token"])
    assert (actor.subject, actor.tenant, actor.roles) == (client, "demo", {role})
    assert (actor.kind is ActorKind.SOURCE) == (role is Role.INTAKE)


async def test_a_token_ends_after_an_hour(http: httpx.AsyncClient) -> None:
    answer = await http.post("/token", data=GRANT, auth=("demo-clerk", SECRETS["demo-clerk"]))
    verifier = TokenVerifier(URL, "diwan", http_fetch(http), clock=lambda: NOW + timedelta(minutes=61))
    with pytest.raises(Unauthenticated) as raised:
        await verifier.verify(answer.json()["access_token"])
    assert raised.value.code == "auth.token_expired"


def test_there_is_a_user_for_each_role_and_two_clerks() -> None:
    assert set(DEMO_USERS.values()) == set(Role)
    assert [client for client, role in DEMO_USERS.items() if role is Role.CLERK] == ["demo-clerk", "demo-clerk-2"]


async def test_credentials_may_come_in_the_form(http: httpx.AsyncClient) -> None:
    pair = {"client_id": "demo-clerk", "client_secret": SECRETS["demo-clerk"]}
    assert (await http.post("/token", data={**GRANT, **pair})).status_code == 200


@pytest.mark.parametrize(
    ("client", "secret"),
    [
        ("demo-clerk", ""),
        ("demo-clerk", "wrong"),
        ("demo-clerk", SECRETS["demo-supervisor"]),
        ("demo-emperor", ""),
        ("", ""),
    ],
)
async def test_wrong_credentials_get_nothing(http: httpx.AsyncClient, client: str, secret: str) -> None:
    for answer in (
        await http.post("/token", data=GRANT, auth=(client, secret)),
        await http.post("/token", data={**GRANT, "client_id": client, "client_secret": secret}),
    ):
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert "access_token" not in answer.json()
        assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("authorization", ["Basic", "Basic !!!", "Basic /////w==", "Bearer x"])
async def test_a_malformed_header_gets_nothing(http: httpx.AsyncClient, authorization: str) -> None:
    answer = await http.post("/token", data=GRANT, headers={"authorization": authorization})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "unsupported_grant_type"),
        (b"grant_type=password", "unsupported_grant_type"),
        (b"grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        (b"grant_type=" + b"x" * 9000, "invalid_request"),
        (b"\xff\xfe=1", "invalid_request"),
        (b"&".join(b"a%d=1" % number for number in range(30)), "invalid_request"),
    ],
)
async def test_a_request_that_is_none_is_refused(http: httpx.AsyncClient, body: bytes, error: str) -> None:
    answer = await http.post("/token", content=body, auth=("demo-clerk", SECRETS["demo-clerk"]))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_it_says_what_it_is_wherever_it_shows(http: httpx.AsyncClient) -> None:
    for path in ("/", "/.well-known/openid-configuration", "/jwks"):
        assert NOTICE in (await http.get(path)).text
    granted = (await http.post("/token", data=GRANT, auth=("demo-clerk", SECRETS["demo-clerk"]))).json()
    assert granted["diwan_demo"] == NOTICE
    payload = granted["access_token"].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["diwan_demo"] == NOTICE


async def test_its_published_key_has_no_private_half(http: httpx.AsyncClient) -> None:
    (key,) = (await http.get("/jwks")).json()["keys"]
    assert (key["kty"], key["alg"], key["kid"]) == ("EC", "ES256", KEY.kid)
    assert "d" not in key


def test_its_files_are_private_and_kept(tmp_path: Path) -> None:
    issuer_app.open_issuer(tmp_path / "issuer", URL)
    before = {each.name: (each.stat().st_mode & 0o777, each.read_bytes()) for each in (tmp_path / "issuer").iterdir()}
    assert {name: mode for name, (mode, _) in before.items()} == {"key.json": 0o600, "clients.json": 0o600}
    assert (tmp_path / "issuer").stat().st_mode & 0o777 == 0o700
    issuer_app.open_issuer(tmp_path / "issuer", URL)
    assert {name: content for name, (_, content) in before.items()} == {
        each.name: each.read_bytes() for each in (tmp_path / "issuer").iterdir()
    }
    assert len(set(issuer.read_secrets(tmp_path / "issuer").values())) == len(DEMO_USERS)


@pytest.mark.parametrize("name", ["key.json", "clients.json"])
def test_exposed_files_are_refused(tmp_path: Path, name: str) -> None:
    issuer_app.open_issuer(tmp_path / "issuer", URL)
    (tmp_path / "issuer" / name).chmod(0o644)
    with pytest.raises(NeedsPerson) as raised:
        issuer_app.open_issuer(tmp_path / "issuer", URL)
    assert raised.value.code == "secret.file_exposed"


# --- as a process --------------------------------------------------------------------------------------------------

_PROGRAM = """
import sys
import threading
from pathlib import Path
from diwan.embedded.issuer_app import serve
serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose stack is an issuer only, running on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text(json.dumps({"issuer_url": url}))
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / issuer.FOLDER), url, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    assert any("issuer.started" in line for line in process.stdout)
    yield tmp_path
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert not [secret for secret in issuer.read_secrets(tmp_path / issuer.FOLDER).values() if secret in output]


async def test_a_command_gets_a_token_that_the_service_takes(home: Path) -> None:
    url = json.loads((home / "run" / "stack.json").read_text())["issuer_url"]
    async with httpx.AsyncClient() as client:
        verifier = TokenVerifier(url, "diwan", http_fetch(client))
        assert (await verifier.verify(fetch_token(home, "authority"))).roles == {Role.AUTHORITY}
        assert (await verifier.verify(fetch_token(home, "clerk-2"))).subject == "demo-clerk-2"
    with pytest.raises(Unauthenticated):
        fetch_token(home, "emperor")
    with pytest.raises(Unauthenticated):
        request_token(url, "demo-clerk", "wrong")


def test_without_a_running_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for content in (None, "", "[]", "{}", '{"issuer_url": "http://127.0.0.1:1"}'):
        if content is not None:
            (tmp_path / "run" / "stack.json").write_text(content)
        with pytest.raises(Unavailable) as raised:
            fetch_token(tmp_path, "clerk")
        assert "diwan up" in raised.value.remedy


def test_whatever_else_answers_there_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(10)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable) as raised:
            request_token(url, "demo-clerk", "x")
        thread.join()
    assert raised.value.code == "issuer.answer_unexpected"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Conflict) as raised:
            issuer_app.serve(tmp_path / "issuer", URL, taken.getsockname()[1])
    assert raised.value.code == "issuer.port_taken"
