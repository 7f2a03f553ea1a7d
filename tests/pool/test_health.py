"""The watch over an engine: taken out by name, let in again by a real token, and never given more than it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest

from diwan.domain.errors import DiwanError, Unavailable
from diwan.embedded.demo_engine.app import MODEL, VERSION, create_app
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.pool import health as watch
from diwan.pool.engine import EngineClient
from diwan.pool.errors import EngineBusy, EngineJunk
from diwan.pool.gate import Gate
from diwan.pool.health import Health
from diwan.pool.load import EngineLoad, load_of
from tests.pool.serving import Handler, answering, serving
from tests.support.wires import TransportWire

LOAD = """# HELP vllm:num_requests_running Number of requests
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}.0
vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} {kv}
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {tokens}
"""
BUSY = EngineBusy("engine.busy", "The engine has no room now.")
FAILED = Unavailable("engine.failed", "The engine failed (500).")


class Scripted(httpx.AsyncBaseTransport):
    """An engine whose load a test sets; `gone` is one that nobody reaches."""

    def __init__(self) -> None:
        self.running = self.waiting = self.tokens = 0
        self.kv = 0.1
        self.models = [MODEL]
        self.version = "0.32.0"
        self.gone = False
        self.never = asyncio.Event()
        self.holds = False
        self.metrics = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.gone:
            raise httpx.ConnectError("gone")
        path = request.url.path
        if self.holds and path == "/v1/chat/completions":
            await self.never.wait()
        if path == "/metrics":
            said = LOAD.format(running=self.running, waiting=self.waiting, kv=self.kv, tokens=self.tokens).encode()
            return httpx.Response(200 if self.metrics else 404, stream=httpx.ByteStream(said))
        said = {
            "/health": {},
            "/version": {"version": self.version},
            "/v1/models": {"data": [{"id": model} for model in self.models]},
            "/v1/chat/completions": {"choices": [{}], "model": MODEL},
        }[path]
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(said).encode()))


class Watched:
    """A host of room 4 whose gate is full, or not, as a test says; `now` is the watch's clock."""

    def __init__(self) -> None:
        self.engine = Scripted()
        self.now = 0.0
        self.gate = Gate(4)
        self.client = EngineClient("http://engine", wire=TransportWire(self.engine))
        self.health = Health(self.client, MODEL, self.gate, most=4, clock=lambda: self.now)
        self.permits: list[Any] = []

    async def calls(self, number: int) -> None:
        """So many calls run."""
        while len(self.permits) < number:
            permit = await self.gate.reserve_slot(cast("Any", _On("queue")))
            self.gate.mark_slot_used(cast("Any", _With(permit)))
            self.permits.append(permit)
        while len(self.permits) > number:
            self.gate.release_slot(cast("Any", _With(self.permits.pop())))

    async def waiting_call(self) -> asyncio.Task[Any]:
        """A call that the engine has, and does not answer."""
        self.engine.holds = True
        call = asyncio.create_task(self.health.calls.ask(self.client.chat(b"{}")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return call

    async def look(self, times: int) -> None:
        for _ in range(times):
            await self.health.look()


class _On:
    def __init__(self, task_queue: str) -> None:
        self.task_queue = task_queue


class _With:
    def __init__(self, permit: object) -> None:
        self.permit = permit


@pytest.fixture
def host() -> Watched:
    return Watched()


@asynccontextmanager
async def watching(url: str, *, seconds: float = 20.0) -> AsyncGenerator[Health]:
    """A host beside the engine there; its watch does not run by itself."""
    async with EngineClient(url, seconds=seconds) as engine:
        yield Health(engine, MODEL, Gate(4), most=4)


# --- room --------------------------------------------------------------------------------------------------------


async def test_a_503_lowers_the_room_to_what_the_engine_had_taken(host: Watched) -> None:
    await host.calls(3)
    host.health.fault(BUSY)
    assert (host.gate.room, host.health.out) == (2, "")


async def test_an_engine_without_room_for_one_call_is_out(host: Watched) -> None:
    """Asked again and again it would turn down the whole queue."""
    await host.calls(1)
    host.health.fault(BUSY)
    assert (host.health.out, host.gate.is_open) == ("busy", False)


async def test_calls_that_wait_within_the_engine_lower_the_room_and_never_below_one(host: Watched) -> None:
    host.engine.waiting = 1
    await host.look(1)
    assert host.gate.room == 4  # a call waits for a moment before each prefill
    await host.look(1)
    assert host.gate.room == 3
    await host.look(20)
    assert host.gate.room == 1


async def test_the_room_rises_slowly_while_it_is_full_and_nothing_waits_and_never_above_its_setting(
    host: Watched,
) -> None:
    host.gate.set_room(1)
    await host.look(9)
    assert host.gate.room == 1  # not full: no more is asked for
    await host.calls(1)
    host.engine.kv = 0.95
    await host.look(9)
    assert host.gate.room == 1  # no memory for more
    host.engine.kv = 0.5
    await host.look(2)
    assert host.gate.room == 1
    await host.look(1)
    assert host.gate.room == 2
    for room in (3, 4, 4):
        await host.calls(host.gate.room)
        await host.look(3)
        assert host.gate.room == room


async def test_without_metrics_the_room_stays(host: Watched) -> None:
    host.engine.metrics = False
    await host.calls(4)
    await host.look(9)
    assert (host.gate.room, host.health.out) == (4, "")


def test_load_is_read_from_what_vllm_says() -> None:
    said = (
        b'vllm:num_requests_running{engine="0",model_name="m"} 3.0\n'
        b'vllm:num_requests_running{engine="1",model_name="m"} 2.0\n'
        b'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0\n'
        b'vllm:num_requests_waiting{model_name="a } b"} 1.0\n'
        b'vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:kv_cache_usage_perc{engine="1"} 0.5\n'
        b"vllm:prefix_cache_queries_total 320\nvllm:prefix_cache_hits_total 256\n"
        b"vllm:prompt_tokens_total 1e+03\nvllm:generation_tokens_total 24\n"
        b"python_gc_objects_collected_total 1.0\nvllm:nonsense\nvllm:num_requests_running NaN\n\xff\n"
    )
    assert load_of(said) == EngineLoad(5, 1, 0.5, 320, 256, 1024)
    assert load_of(b"<html>") == EngineLoad()


# --- out and in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (FAILED, "failed"),
        (Unavailable("engine.unreachable", "x"), "unreachable"),
        (Unavailable("engine.timed_out", "x"), "hung"),
        (EngineJunk("engine.not_json", "x", body=b""), "junk"),
        (EngineJunk("engine.too_slow", "x", body=b"", endless=True), "hung"),
    ],
)
async def test_a_fault_closes_the_gate_by_name_and_a_probe_opens_it(host: Watched, error: DiwanError, out: str) -> None:
    host.health.fault(error)
    assert (host.health.out, host.gate.is_open) == (out, False)
    with pytest.raises(Unavailable):
        host.health.stand_by()
    assert await host.health.try_again()
    assert (host.health.out, host.gate.is_open, host.health.version) == ("", True, "0.32.0")
    host.health.stand_by()


async def test_an_engine_that_vanishes_or_serves_another_model_is_seen_without_a_call(host: Watched) -> None:
    host.engine.models = ["another"]
    await host.look(15)
    assert host.health.out == "wrong_model"
    assert not await host.health.try_again()
    host.engine.models = [MODEL]
    assert await host.health.try_again()
    host.engine.gone = True
    await host.look(1)
    assert host.health.out == "unreachable"
    assert not await host.health.try_again()
    assert not host.gate.is_open


async def test_calls_that_run_while_no_token_is_made_are_a_hung_engine(host: Watched) -> None:
    await host.calls(2)
    host.engine.running = 2
    for host.now in range(0, 300, 30):
        host.engine.tokens += 1
        await host.look(1)
    assert host.health.out == ""
    for host.now in range(300, 420, 30):
        await host.look(1)
    assert host.health.out == "hung"


@pytest.mark.parametrize(
    ("registered", "said", "out"),
    [
        ("vllm 0.32.0", "0.32.0", ""),
        ("vllm 0.32.0", "0.32.0+cpu", ""),  # a build of it
        ("vllm 0.32.0+cpu", "0.32.0", "wrong_version"),
        ("vllm 0.32.0", "0.33.0", "wrong_version"),
        ("vllm 0.32.0", "", ""),  # it does not say
        ("vllm", "0.33.0", ""),  # nothing is registered
        ("rules of a demonstration", "0.33.0", ""),
    ],
)
async def test_a_vllm_of_another_version_than_registered_is_not_asked(
    host: Watched, registered: str, said: str, out: str
) -> None:
    """What it answers would be on record as the registered one's, and may differ."""
    host.engine.version = said
    health = Health(host.client, MODEL, host.gate, most=4, registered=registered)
    health.take_out(watch.STARTING)
    assert await health.try_again() is not bool(out)
    assert (health.out, host.gate.is_open) == (out, not out)


async def test_calls_of_an_engine_that_is_known_to_be_dead_are_given_up(host: Watched) -> None:
    """One look that it does not answer is no proof, for calls that run may be well; the probe after it is."""
    call = await host.waiting_call()
    host.engine.gone = True
    await host.look(1)
    assert not call.done()
    assert not await host.health.try_again()
    with pytest.raises(Unavailable) as raised:
        await call
    assert raised.value.code == "engine.given_up"
    assert watch.of_engine(raised.value)
    host.engine.gone = host.engine.holds = False
    assert await host.health.try_again()
    host.health.fault(raised.value)  # told late: the engine is well again
    assert host.gate.is_open


async def test_calls_of_an_engine_that_fails_a_probe_by_another_fault_go_on(host: Watched) -> None:
    call = await host.waiting_call()
    host.engine.models = ["another"]
    host.health.fault(FAILED)
    assert not await host.health.try_again()
    assert not call.done()
    host.engine.never.set()
    await call


async def test_a_call_that_is_cancelled_leaves_nothing_behind(host: Watched) -> None:
    call = await host.waiting_call()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert host.health.calls.give_up() == 0


async def test_a_host_that_is_cut_off_from_a_part_of_the_service_is_out_until_it_is_back(host: Watched) -> None:
    away: set[str] = set()
    health = Health(host.client, MODEL, host.gate, most=4, parts={name: _part(name, away) for name in ("a", "b")})
    away.add("b")
    await health.look()
    await health.look()
    assert health.out == ""  # once is none: it may only be slow
    await health.look()
    assert (health.out, host.gate.is_open) == ("no_b", False)
    assert not await health.try_again()
    away.clear()
    assert await health.try_again()
    for _ in range(12):
        await health.look()
    assert health.out == ""


@pytest.mark.parametrize(
    ("code", "out"),
    [
        ("database.unavailable", "no_database"),
        ("vault.not_answering", "no_vault"),
        ("database.busy", ""),  # all connections are in use
        ("engine.out", ""),
    ],
)
async def test_a_call_that_misses_a_part_of_the_service_closes_the_gate(host: Watched, code: str, out: str) -> None:
    """Each call that this host took would be lost at once: it would swallow the queue."""
    parts = {name: _part(name, set()) for name in ("database", "vault")}
    health = Health(host.client, MODEL, host.gate, most=4, parts=parts)
    health.missed(Unavailable(code, "x"))
    assert (health.out, host.gate.is_open) == (out, not out)


def _part(name: str, away: set[str]) -> watch.Check:
    async def check() -> None:
        if name in away:
            raise OSError("away")

    return check


async def test_an_idle_engine_makes_no_token_and_is_well(host: Watched) -> None:
    for host.now in range(0, 600, 30):
        await host.look(1)
    assert host.health.out == ""


@pytest.mark.parametrize(
    ("mode", "out"), [(Mode.CRASH, "failed"), (Mode.BUSY, "busy"), (Mode.NOT_JSON, "junk"), (Mode.ENDLESS, "junk")]
)
async def test_an_engine_whose_health_is_well_and_whose_calls_fail_is_not_let_in(mode: Mode, out: str) -> None:
    async with serving(create_app(Failure(mode, times=1))) as url, watching(url) as health:
        health.take_out("failed")
        assert not await health.try_again()
        assert health.out == out
        assert await health.try_again()
        assert health.version == VERSION


async def test_a_probe_that_hangs_ends_and_one_that_takes_long_is_too_slow(
    host: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_PROBE_S", 0.2)
    failure = Failure(Mode.SLOW, times=1, seconds=30)
    async with serving(create_app(failure)) as url, watching(url) as health:
        assert not await health.try_again()
        assert health.out == "hung"
    asked = host.engine.handle_async_request

    async def later(request: httpx.Request) -> httpx.Response:
        host.now += 4
        return await asked(request)

    monkeypatch.setattr(host.engine, "handle_async_request", later)
    assert not await host.health.try_again()
    assert host.health.out == "slow"


async def test_a_stream_that_dribbles_for_ever_ends_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PROBE_S", 0.5)

    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    handler: Handler = dribble
    async with answering(handler) as url, EngineClient(url) as engine:
        with pytest.raises(EngineJunk):
            async with asyncio.timeout(30):
                await engine.probe(MODEL, seconds=0.5)


async def test_the_watch_takes_out_and_lets_in_by_itself(host: Watched) -> None:
    stop = asyncio.Event()
    host.health.take_out(watch.STARTING)
    running = asyncio.create_task(host.health.run(stop))
    await _until(lambda: host.gate.is_open)
    host.engine.gone = True
    host.health.fault(FAILED)
    await _until(lambda: host.health.out == "unreachable")
    host.engine.gone = False
    await _until(lambda: host.gate.is_open)
    stop.set()
    async with asyncio.timeout(10):
        await running
    assert host.health.out == ""


async def test_who_answers_probes_and_fails_calls_is_asked_ever_less_often(host: Watched) -> None:
    rests: list[float] = []
    for _ in range(12):
        host.health.fault(FAILED)
        rests.append(host.health.rest_s)
        assert await host.health.try_again()
    assert rests == sorted(rests)
    assert (rests[0], rests[1], rests[-1]) == (0.0, 0.5, 30.0)
    host.health.answered()
    host.health.fault(FAILED)
    assert host.health.rest_s == 0.0


async def _until(so: Any) -> None:
    async with asyncio.timeout(30):
        while not so():  # noqa: ASYNC110 - the other end of it is a probe
            await asyncio.sleep(0.02)


async def test_that_it_is_out_or_in_again_is_news_and_that_it_still_is_none(host: Watched) -> None:
    host.health.take_out("hung")
    assert host.health.news.is_set()
    host.health.news.clear()
    host.health.take_out("hung")
    assert not host.health.news.is_set()
    assert await host.health.try_again()
    assert host.health.news.is_set()
