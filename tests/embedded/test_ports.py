"""Ports: free ones outside the range of outgoing connections, taken ones by whom."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from diwan.domain.errors import Conflict
from diwan.embedded import parts, ports
from diwan.embedded.home import Home
from diwan.embedded.parts import Options


@pytest.fixture
def taken() -> Generator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_refused_with_the_name_of_its_holder(taken: int) -> None:
    with pytest.raises(Conflict) as raised:
        ports.claim(taken, "DIWAN_PORT")
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert raised.value.message == f"Port {taken} on 127.0.0.1 is taken by {name} (pid {os.getpid()})."
    assert "DIWAN_PORT=PORT" in raised.value.remedy


def test_zero_gives_a_free_one(taken: int) -> None:
    port = ports.claim(0, "DIWAN_PORT")
    assert port != taken
    assert ports.is_free(port)
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert port < first_outgoing


def test_a_stack_takes_the_ports_of_last_time_but_not_a_taken_one(folder: Path, taken: int) -> None:
    home = Home(folder / "home")
    home.open()
    first = parts.Parts(Options(home=home.path, port=0), home).ports
    assert len(set(first.values())) == len(first)
    assert parts.Parts(Options(home=home.path, port=0), home).ports == first
    home.write("ports.json", {**first, "issuer": taken})
    again = parts.Parts(Options(home=home.path, port=0), home).ports
    assert again["issuer"] != taken
    assert {**again, "issuer": 0} == {**first, "issuer": 0}
    home.close()


def test_one_port_for_two_parts_is_refused(folder: Path) -> None:
    home = Home(folder / "home")
    home.open()
    port = ports.free_port()
    with pytest.raises(Conflict, match="set for two parts"):
        parts.Parts(Options(home=home.path, port=port, issuer_port=port), home)
    home.close()
