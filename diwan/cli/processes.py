"""The service's processes, each built from the settings: `diwan web`, `worker`, `relay`, `pool serve`.

Every command imports what it runs when it runs: each process holds only its own libraries.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diwan import metrics
from diwan.cli import fairness, running, worker_version
from diwan.cli.connections import TemporalLink, database, database_time, eraser, keyring, ping, registry
from diwan.cli.engine_beside import batch_invariant_of, engine_beside
from diwan.cli.figures import figures, stuck_in_database, waiting_in_database, waiting_in_temporal
from diwan.cli.lazy import command_group
from diwan.cli.pool_digest import digest
from diwan.cli.pool_status import status
from diwan.domain.errors import DiwanError, NotFound
from diwan.tracing import spans

if TYPE_CHECKING:
    from diwan.domain.text import Language
    from diwan.pool.registry import Registry
    from diwan.procedures.schema import Procedure
    from diwan.settings import Settings
    from diwan.store.clock_watch import ClockWatch


def register(app: typer.Typer) -> None:
    app.command("web")(web)
    app.command("worker")(worker)
    app.command("relay")(relay)
    pool = command_group("The pool of models.")
    pool.command("serve")(serve_pool)
    pool.command("status")(status)
    pool.command("digest")(digest)
    app.add_typer(pool, name="pool")


def clock() -> datetime:
    return datetime.now(UTC)


def _watch(settings: Settings, part: str) -> ClockWatch:
    from diwan import system_clock
    from diwan.domain.clock import Tolerance
    from diwan.store.clock_watch import ClockWatch

    tolerance = Tolerance(timedelta(seconds=settings.clock_jump_s), timedelta(seconds=settings.clock_gap_s))
    return ClockWatch(system_clock.read, tolerance, part=part)


# --- web ------------------------------------------------------------------------------------------------------------


def web() -> None:
    """Serve the API: intake, cases, tasks, procedures."""
    asyncio.run(_web(running.begin("web")))


async def _web(settings: Settings) -> None:
    import httpx

    from diwan.documents.readers import Readers
    from diwan.web.app import create_app
    from diwan.web.auth import TokenVerifier
    from diwan.web.dependencies import Dependencies
    from diwan.web.jwks import http_fetch

    db, ring = database(settings, "web"), keyring(settings)
    with running.listener(settings.host, settings.port, "DIWAN_PORT") as socket:
        async with (
            running.stop_signal() as stop,
            running.health(settings.health_host, settings.health_port, {"database": lambda: ping(db)}),
            httpx.AsyncClient(timeout=5.0) as http,
            Readers() as readers,
        ):
            verifier = TokenVerifier(settings.text("issuer_url"), settings.audience, http_fetch(http), clock=clock)
            dependencies = Dependencies(
                db=db,
                keyring=ring,
                verifier=verifier,
                clock=clock,
                watch=_watch(settings, "web"),
                probes={"vault": ring.ready, "issuer": verifier.ready},
                readers=readers,
            )
            await running.serve(create_app(dependencies), socket, stop)
        await ring.aclose()
        await db.dispose()
    spans.flush()


# --- worker ---------------------------------------------------------------------------------------------------------


_WATCH_S, _RETENTION_S, _ERASE_S, _WITHOUT_CASE_S, _HISTORIES_S = 60.0, 3600.0, 5.0, 30.0, 15.0
_KEYS_S = 60.0


def worker(
    promote: Annotated[
        bool, typer.Option("--promote", help="Only make the version of this code the one that gets cases, then end.")
    ] = False,
) -> None:
    """Carry out cases: workflows and their activities."""
    settings = running.begin("worker")
    if promote:
        running.run(worker_version.promote(settings))
        return
    running.run(_worker(settings))
    running.leave()


async def _worker(settings: Settings) -> None:
    from activities.casework import CaseActivities
    from activities.correspondence import Correspondence
    from activities.observed import Observed
    from activities.registered import Registered
    from activities.registers import Registers
    from activities.reminders import Reminders
    from activities.reruns import Reruns
    from activities.runs import RunActivities, RunSettings
    from diwan.documents.readers import Readers
    from diwan.documents.typeset import render_letter
    from diwan.erasing import Erasures, Proposals, WithoutCase
    from diwan.histories import Histories
    from diwan.key_records import KeyRecords
    from diwan.relay import run_forever
    from diwan.store.clock_watch import watch_all
    from diwan.store.traces import CaseTraces
    from diwan.temporal import CASE_QUEUE, model_queue
    from diwan.worker import case_worker, run_until

    db, ring, link = database(settings, "worker"), keyring(settings), TemporalLink(settings)
    shredder = eraser(settings) if settings.vault_eraser_token is not None else None
    known = registry(settings)
    queues = [CASE_QUEUE, *(model_queue(model.name) for model in known.models)]
    run_settings = RunSettings(
        models_of=_models(known),
        patience_s=settings.agent_patience_s,
        call_limit_s=settings.engine_timeout_s + _AROUND_A_CALL_S,
        host_wait_s=settings.agent_host_wait_s,
    )
    checks = {"database": lambda: ping(db), "vault": ring.ready, "temporal": link.ready}
    async with (
        running.stop_signal() as stop,
        running.health(
            settings.health_host,
            settings.health_port,
            checks,
            figures({"temporal": waiting_in_temporal(lambda: link.client, queues)}),
        ),
        Readers() as readers,
    ):
        client = await running.patiently("temporal", link.connect, stop)
        if client is not None:
            watch = _watch(settings, "worker")
            correspondence = Correspondence(db, ring, render_letter, clock)
            reminders = Reminders(db, ring, render_letter, clock, watch)
            casework = CaseActivities(db, ring, correspondence, reminders, clock, watch)
            reruns = Reruns(db, ring, clock, call_limit_s=run_settings.call_limit_s)
            runs = RunActivities(db, ring, readers, Registers(db, ring), run_settings, clock)
            watching = run_forever("clock", lambda: watch_all(db, watch), stop, idle_s=_WATCH_S)
            keeping = run_forever("histories", Histories(db, ring, client, clock).pass_once, stop, idle_s=_HISTORIES_S)
            recording = run_forever("keys", KeyRecords(db, ring, clock).pass_once, stop, idle_s=_KEYS_S)
            erasing = (run_forever("retention", Proposals(db, ring, watch).pass_once, stop, idle_s=_RETENTION_S),)
            if shredder is not None:
                without_case = WithoutCase(db, shredder, watch)
                erasing += (
                    run_forever("erasures", Erasures(db, shredder, clock).pass_once, stop, idle_s=_ERASE_S),
                    run_forever("without_case", without_case.pass_once, stop, idle_s=_WITHOUT_CASE_S),
                )
            seen = [Observed(CaseTraces(db)), Registered(db, clock)]
            async with worker_version.of_this_worker(settings, client, stop) as build:
                polling = case_worker(client, casework, runs, reruns, build=build, interceptors=seen)
                await asyncio.gather(run_until(polling, stop), watching, keeping, recording, *erasing)
    await ring.aclose()
    if shredder is not None:
        await shredder.aclose()
    await db.dispose()


# What reading the case and storing the answer may take besides: were it nothing, Temporal would give a call up before
# the engine's client does, and what came of the answer would be on no record.
_AROUND_A_CALL_S = 30


def _models(known: Registry) -> Callable[[Procedure, str, Language], list[str]]:
    """Names of the models that may serve a procedure, best first."""
    from diwan.pool.choice import may_serve

    def models_of(procedure: Procedure, capability: str, language: Language) -> list[str]:
        return [model.name for model in may_serve(known, procedure, capability, language=language)]

    return models_of


# --- pool -----------------------------------------------------------------------------------------------------------


_SIGN_S = 3.0


def serve_pool(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model, as registered; else DIWAN_ENGINE_MODEL says it.")
    ] = "",
) -> None:
    """Serve the calls of one model from the engine beside this process.

    Where DIWAN_ENGINE_WEIGHTS is set it starts vLLM itself and keeps it running; else it asks DIWAN_ENGINE_URL.
    """
    running.run(_pool(running.begin("pool"), model))
    running.leave()


async def _pool(settings: Settings, wanted: str) -> None:
    from activities.model import ModelActivities
    from activities.observed import Observed
    from activities.registered import Registered
    from activities.rerun_call import RerunCalls
    from diwan.pool.clock import SharedClock
    from diwan.pool.gate import Gate
    from diwan.pool.health import STARTING, Check, Health
    from diwan.pool.host import name_of_host
    from diwan.pool_signs import Signs
    from diwan.relay import run_forever
    from diwan.store.traces import CaseTraces
    from diwan.worker import pool_worker, run_until

    known = registry(settings)
    model = known.model(wanted or settings.text("engine_model"))
    db, ring, link = database(settings, "pool"), keyring(settings), TemporalLink(settings)
    metrics.ENGINE_RUNNING.set(0, model.name)
    time = SharedClock(lambda: database_time(db))
    parts: dict[str, Check] = {"database": time.look, "vault": ring.ready, "temporal": link.ready}
    async with (
        running.stop_signal() as stop,
        running.health(settings.health_host, settings.health_port, parts),
        engine_beside(settings, known, model, stop) as beside,
    ):
        client = await running.patiently("temporal", link.connect, stop)
        if client is not None:
            await fairness.demand(settings, client, stop)
            host, gate = name_of_host(settings.pool_host), Gate(settings.engine_room)
            health = Health(beside, model.name, gate, most=settings.engine_room, registered=model.engine, parts=parts)
            health.take_out(STARTING)
            invariant = batch_invariant_of(settings)
            of_host = (db, ring, beside, model, time)
            calls = ModelActivities(*of_host, host=host, health=health, batch_invariant=invariant)
            again = RerunCalls(*of_host, host=host, health=health, batch_invariant=invariant)
            seen = [Observed(CaseTraces(db)), Registered(None, clock)]
            polling = pool_worker(client, model.name, calls, again, host=host, gate=gate, interceptors=seen)
            signs = Signs(db, host, model, gate, health, time, most=settings.engine_room, batch_invariant=invariant)
            told = run_forever("pool_host", signs.pass_once, stop, idle_s=_SIGN_S, news=health.news)
            await asyncio.gather(run_until(polling, stop), health.run(stop), told)
            with contextlib.suppress(DiwanError):
                await signs.end()
    await ring.aclose()
    await db.dispose()


# --- relay ----------------------------------------------------------------------------------------------------------

_RING_IDLE_S, _RERUNS_IDLE_S, _DELIVER_IDLE_S, _SWEEP_EVERY_S, _UPLOADS_EVERY_S = 0.2, 1.0, 1.0, 60.0, 60.0
_GONE_EVERY_S = 600.0


def relay() -> None:
    """Ring the workflows of cases that have something unconsumed; deliver the outbox; name cases that are stuck.

    And remove uploads that no event has named for long.
    """
    asyncio.run(_relay(running.begin("relay")))
    running.leave()


async def _relay(settings: Settings) -> None:
    import httpx

    from diwan.housekeeping import GoneHosts, Uploads
    from diwan.recovery import Sweeper
    from diwan.relay import Delivery, Doorbell, run_forever
    from diwan.rerun_bell import RerunBell

    db, link = database(settings, "relay"), TemporalLink(settings)
    checks = {"database": lambda: ping(db), "temporal": link.ready}
    async with (
        running.stop_signal() as stop,
        running.health(
            settings.health_host,
            settings.health_port,
            checks,
            figures({"database": waiting_in_database(db, clock), "stuck": stuck_in_database(db, clock)}),
        ),
        httpx.AsyncClient() as http,
    ):
        delivery = Delivery(db, http, _webhook_secrets(settings.webhook_secrets), clock)
        delivering = run_forever("outbox", delivery.pass_once, stop, idle_s=_DELIVER_IDLE_S)
        uploads = Uploads(db, clock, timedelta(days=settings.uploads_kept_days))
        putting_away = asyncio.gather(
            run_forever("uploads", uploads.pass_once, stop, idle_s=_UPLOADS_EVERY_S),
            run_forever("gone_hosts", GoneHosts(db).pass_once, stop, idle_s=_GONE_EVERY_S),
        )

        async def ringing() -> None:
            client = await running.patiently("temporal", link.connect, stop)
            if client is not None:
                await asyncio.gather(
                    run_forever("doorbell", Doorbell(db, client, clock).pass_once, stop, idle_s=_RING_IDLE_S),
                    run_forever("reruns", RerunBell(db, client).pass_once, stop, idle_s=_RERUNS_IDLE_S),
                    run_forever("sweeper", Sweeper(db, client, clock).pass_once, stop, idle_s=_SWEEP_EVERY_S),
                )

        await asyncio.gather(delivering, putting_away, ringing())
    await db.dispose()


def _webhook_secrets(folder: Path | None) -> Callable[[str], str]:
    """Secrets by name, from the files of one folder; a name is never a path."""

    def secret_of(name: str) -> str:
        if folder is None or Path(name).name != name:
            raise NotFound("webhook.no_secret", "There is no such webhook secret.", "Set DIWAN_WEBHOOK_SECRETS.")
        return (folder / name).read_text(encoding="ascii").strip()

    return secret_of
