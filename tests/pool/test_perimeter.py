"""No call leaves the perimeter, by address or by name, at the start or later, unless operator and ministry name it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from aiohappyeyeballs import start_connection
from pydantic import ValidationError

from diwan.domain.errors import InvalidInput, Refused, Unavailable
from diwan.embedded.demo_engine.app import create_app
from diwan.pool.engine import EngineClient
from diwan.pool.perimeter import INSIDE, Perimeter, Way, origin_of, way_to
from diwan.pool.registry import Registry
from tests.pool.serving import serving

FAR = "203.0.113.7"  # set aside for documentation: nobody's


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.7.7", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("fe80::1%eth0", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),  # noqa: S104 - not listened on
        ("100.64.0.1", False),
        ("8.8.8.8", False),
        (FAR, False),
        ("2001:db8::1", False),
    ],
)
def test_inside_is_loopback_and_the_private_networks(address: str, inside: bool) -> None:
    assert Perimeter().holds("gpu.example", address) is inside


def test_an_operator_lists_networks_and_hosts() -> None:
    listed = Perimeter(["203.0.113.0/24", "2001:db8::/32", "GPU-7.ministry.example"])
    assert listed.holds("other.example", FAR)
    assert listed.holds("other.example", "2001:db8::9")
    assert listed.holds("gpu-7.ministry.example.", "8.8.8.8")
    assert not listed.holds("gpu-8.ministry.example", "8.8.8.8")
    assert not listed.holds("evil.gpu-7.ministry.example", "8.8.8.8")


@pytest.mark.parametrize(
    "wrong", ["203.0.113.7/24", "300.1.1.1", "", "a b", "https://gpu.example", "*.example", "10.0.0"]
)
def test_a_registry_that_lists_neither_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Registry(models=(), capabilities={}, perimeter=(wrong,))


@pytest.mark.parametrize(
    "wrong", ["http://far.example", "https://far.example/v1", "https://u:p@far.example", "far.example"]
)
def test_outside_is_named_by_an_encrypted_address(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Registry(models=(), capabilities={}, outside=(wrong,))


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://Far.Example:443/", "https://far.example"),
        ("http://10.0.0.1:80", "http://10.0.0.1"),
        ("https://far.example:8443", "https://far.example:8443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_has_one_way_of_writing(url: str, same: str) -> None:
    assert origin_of(url) == same


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "x", "http://h:0", "http://h:99999", "http://u@h", "http://h/v1", "http://h?x"]
)
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        await way_to(url)


def resolving(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    """Names lead where this says: to Diwan at its start, and to aiohttp when it connects."""

    async def resolve(host: str, port: Any, **asked: Any) -> list[Any]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[host], port or 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)


async def test_an_engine_inside_is_used_by_address_and_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, gpu="10.0.0.9", own=FAR)
    for url in ("http://127.0.0.1:8000", "http://[::1]:8000", "http://gpu:8000"):
        assert (await way_to(url)).outside == ""
    assert (await way_to("http://own:8000", inside=["own"])).outside == ""


async def test_an_engine_outside_is_refused_and_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, far=FAR)
    for url in (f"http://{FAR}:8000", "https://far:8000"):
        with pytest.raises(Refused) as raised:
            await way_to(url)
        assert raised.value.code == "engine.outside_perimeter"
        assert "`perimeter` of the registry" in raised.value.remedy


async def test_an_engine_outside_needs_to_be_listed_and_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, far=FAR)
    listed = ["https://far:8443"]
    assert (await way_to("https://FAR:8443", outside=listed)).outside == "https://far:8443"
    for other in ("https://far:8444", "http://far:8443", "https://far"):
        with pytest.raises(Refused):
            await way_to(other, outside=listed)


async def test_a_name_that_leads_nowhere_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch)
    with pytest.raises(Unavailable):
        await way_to("http://gone:8000")


def test_no_client_is_made_for_an_address_outside() -> None:
    with pytest.raises(Refused):
        EngineClient(f"http://{FAR}:8000")


async def test_a_name_that_is_led_outside_later_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where somebody changes the name server's answer under a running pool worker."""
    connected: list[str] = []

    async def watched(addr_infos: Any, **asked: Any) -> socket.socket:
        connected.extend(address[4][0] for address in addr_infos)
        return await start_connection(addr_infos, **asked)

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", watched)
    async with serving(create_app()) as url:
        port = url.rpartition(":")[2]
        resolving(monkeypatch, gpu="127.0.0.1")
        async with EngineClient(f"http://gpu:{port}") as engine:
            assert (await engine.info()).models
        assert connected == ["127.0.0.1"]
        resolving(monkeypatch, gpu=FAR)
        async with EngineClient(f"http://gpu:{port}", way=INSIDE) as engine:
            with pytest.raises(Refused):
                await engine.chat(b"{}")
    assert connected == ["127.0.0.1"]


def test_a_client_knows_that_its_engine_is_outside() -> None:
    assert EngineClient("https://far", way=Way(Perimeter(), outside="https://far")).outside == "https://far"
    assert EngineClient("http://127.0.0.1:8000").outside == ""
