"""Recorded calls sent again to a real vLLM: the very bytes, at the recorded seed, and a verdict that claims no more."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.rerun_call import RerunCalls
from diwan.pool.engine import EngineClient
from diwan.pool.gate import Gate
from diwan.pool.health import Health
from diwan.pool.wire import Answered, HttpWire
from diwan.store.calls import opened_request
from diwan.store.database import Database
from diwan.vault.client import VaultKeyring
from tests.scenario.again import asked, calls_of, ended
from tests.scenario.office import EXAMPLE, Json, Office
from tests.vllm import record
from tests.vllm.server import NAME, VERSION, Server, own_engine, weights_digest
from tests.vllm.test_cases import first_stop
from workflows.calls import RerunRef

pytestmark = pytest.mark.timeout(1_200)


@pytest.fixture(scope="module")
async def case(office: Office) -> str:
    accepted = await office.submit(EXAMPLE / "03-french-permit-too-old", "vllm-rerun")
    await first_stop(office, accepted["case"])
    return accepted["case"]


def honest(view: Json) -> None:
    """Nobody said whether this server is batch-invariant, so no difference may be called a finding."""
    assert view["status"] in ("identical", "differs"), view["reason"]
    assert view["meaning"] == {"identical": "identical", "differs": "differs_proves_nothing"}[view["status"]]
    assert (view["first"] is None) == (view["status"] == "identical")
    assert view["then"]["batch_invariant"] == view["now"]["batch_invariant"] == "unknown"
    # All else is the same, and known to be.
    assert set(view["same"].values()) == {"yes"}
    assert view["tokens"] is True
    assert (view["temperature"], view["seed"]) == ("0", 1)


async def test_each_call_of_a_case_is_answered_again_and_compared_by_tokens(office: Office, case: str) -> None:
    calls = await calls_of(office, case)
    assert len(calls) >= 3
    for call in calls:
        by = call["answered_by"]
        assert (by["model"], by["weights_digest"], by["engine_version"]) == (NAME, weights_digest(), VERSION)
        assert len(by["tokenizer_digest"]) == 64
        assert (call["rerunnable"], call["why_not"]) == (True, "")
    views = [await ended(office, await asked(office, case, call["number"])) for call in calls]
    for view in views:
        honest(view)
    print("verdicts:", *(view["status"] for view in views))


class Noting:
    """The wire to the server, and what went over it."""

    def __init__(self, url: str) -> None:
        self._wire = HttpWire(url, connections=4)
        self.sent: list[bytes] = []

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str]
    ) -> AsyncGenerator[Answered]:
        if path == "/v1/chat/completions":
            self.sent.append(content)
        async with self._wire.exchange(method, path, content, headers) as answered:
            yield answered

    async def aclose(self) -> None:
        await self._wire.aclose()


async def test_what_goes_over_the_wire_is_what_is_on_record(office: Office, server: Server, case: str) -> None:
    number = 2
    await office.stack.stop_part("relay")  # nobody else carries it out meanwhile
    try:
        wish = await asked(office, case, number)
        wire = Noting(server.url)
        assert await carried_out(office, server, wire, RerunRef(tenant=record.TENANT, case=case, rerun=wish["id"])) in (
            "identical",
            "differs",
        )
    finally:
        await office.stack.start_part("relay")
    honest(await ended(office, wish))
    call = (await calls_of(office, case))[number - 1]
    (row,) = [
        row
        for row in record.attempts(office.stack, case)
        if (row["run_id"], row["call"], row["attempt"]) == (call["run"], call["call"], call["attempt"])
    ]
    place = (row["run_id"], row["call"], row["attempt"])
    cipher = await record.cipher_of(office.stack, case)
    assert wire.sent == [opened_request(cipher, *place, bytes(row["request_sealed"]))]


async def carried_out(office: Office, server: Server, wire: Noting, given: RerunRef) -> str:
    """By a pool worker's activity in this process."""
    settings = json.loads((office.stack.home.run / "stack.json").read_text())
    keyring = VaultKeyring(
        settings["vault_address"], (office.stack.home.secrets / "vault-token-pool").read_text().strip()
    )
    db = Database.connect(office.stack.database_url("diwan_pool"), role="diwan_pool", pool_size=2)
    model = own_engine(server).registry.model(NAME)
    async with AsyncExitStack() as open_now:
        open_now.push_async_callback(db.dispose)
        open_now.push_async_callback(keyring.aclose)
        engine = await open_now.enter_async_context(EngineClient(server.url, wire=wire, seconds=120))
        health = Health(engine, NAME, Gate(1), most=1)
        assert await health.try_again()
        wire.sent.clear()  # the probe's
        calls = RerunCalls(db, keyring, engine, model, lambda: datetime.now(UTC), host="noting", health=health)
        return await ActivityEnvironment().run(calls.rerun_call, given)


async def test_where_the_device_cannot_be_batch_invariant_the_host_serves_nobody(tmp_path: Path) -> None:
    """vLLM starts all the same and says it is well: the probe's one token is what finds out."""
    server = Server(tmp_path, more={"VLLM_BATCH_INVARIANT": "1"})
    try:
        await server.start()
        async with EngineClient(server.url, seconds=120) as engine:
            assert await engine.healthy()
            health = Health(engine, NAME, Gate(1), most=1)
            assert not await health.try_again()
            assert health.out == "failed"
    finally:
        await server.kill()
