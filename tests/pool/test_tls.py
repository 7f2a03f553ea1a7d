"""An engine by TLS: trusted by the authority that is named, and out by name where its certificate is not right."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from diwan.domain.errors import Disposition, InvalidInput
from diwan.embedded.demo_engine.app import MODEL, create_app
from diwan.pool.engine import EngineClient, wire_request
from diwan.pool.errors import EngineUntrusted
from diwan.pool.gate import Gate
from diwan.pool.health import Health, of_engine
from diwan.pool.wire import trusting
from tests.pool.certificates import Authority
from tests.pool.serving import serving

DAY = timedelta(days=1)
REQUEST = wire_request({"model": MODEL, "messages": [{"role": "user", "content": "1"}]}, cache_salt="s", request_id="r")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def wrong(why: str, authority: Authority, folder: Path) -> Path | None:
    """The certificate of a server on localhost that is wrong in this way; None: it has none."""
    return {
        "certificate_expired": lambda: authority.issued(ends=-DAY),
        "certificate_other_name": lambda: authority.issued("elsewhere.example"),
        "certificate_unknown_authority": lambda: Authority(folder, "Another authority").issued(),
        "no_tls": lambda: None,
    }[why]()


WAYS = ["certificate_expired", "certificate_other_name", "certificate_unknown_authority", "no_tls"]


@pytest.mark.parametrize("why", WAYS)
async def test_an_engine_that_cannot_show_who_it_is_is_out_until_it_can(
    why: str, authority: Authority, tmp_path: Path
) -> None:
    async with serving(create_app(), certificate=wrong(why, authority, tmp_path)) as url:
        port = urlsplit(url).port or 0
        engine = EngineClient(f"https://localhost:{port}", trusted=trusting(authority.file))
        gate = Gate(4)
        health = Health(engine, MODEL, gate, most=4)
        await health.look()
        assert (health.out, gate.is_open) == (why, False)
        assert not await health.try_again()
        with pytest.raises(EngineUntrusted) as raised:
            await engine.chat(REQUEST)
    assert raised.value.code == f"engine.{why}"
    assert raised.value.disposition is Disposition.PERSON
    assert of_engine(raised.value)  # nothing is wrong with the call: another host takes it
    async with serving(create_app(), port=port, certificate=authority.issued()):
        assert await health.try_again()
        assert (health.out, gate.is_open) == ("", True)
        assert (await engine.chat(REQUEST)).model == MODEL
        await engine.aclose()


async def test_an_authority_that_was_not_named_is_not_trusted(authority: Authority) -> None:
    """Nor is one that the system trusts, where another is named: that is what naming one is for."""
    async with serving(create_app(), certificate=authority.issued()) as url, EngineClient(url) as engine:
        with pytest.raises(EngineUntrusted) as raised:
            await engine.info()
    assert raised.value.code == "engine.certificate_unknown_authority"
    named = trusting(authority.file)
    assert named is not None
    assert len(named.get_ca_certs()) == 1


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_authority_that_cannot_be_read_is_said_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match="DIWAN_ENGINE_CA"):
        trusting(file)
