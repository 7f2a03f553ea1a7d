"""The engine beside a pool worker, by the settings: one that runs already, or vLLM started here."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from diwan.domain.errors import InvalidInput
from diwan.domain.rerun import Known

if TYPE_CHECKING:
    from diwan.pool.engine import EngineClient
    from diwan.pool.registry import Model, Registry
    from diwan.pool.vllm import Launch
    from diwan.settings import Settings


@asynccontextmanager
async def engine_beside(
    settings: Settings, known: Registry, model: Model, stop: asyncio.Event
) -> AsyncGenerator[EngineClient]:
    """A client of it, which serves unless `stop` came first. Raises `Refused` where it is outside the perimeter."""
    if settings.engine_weights is None:
        async with _attached(settings, known) as client:
            yield client
    else:
        async with _started(settings, settings.engine_weights, model, stop) as client:
            yield client


@asynccontextmanager
async def _attached(settings: Settings, known: Registry) -> AsyncGenerator[EngineClient]:
    from diwan.pool.engine import EngineClient
    from diwan.pool.perimeter import way_to
    from diwan.pool.wire import trusting

    address = settings.text("engine_url")
    way = await way_to(address, inside=known.perimeter, outside=known.outside)
    async with EngineClient(
        address,
        seconds=settings.engine_timeout_s,
        room=settings.engine_room,
        api_key=_key(settings),
        way=way,
        trusted=trusting(settings.engine_ca),
    ) as client:
        yield client


@asynccontextmanager
async def _started(
    settings: Settings, weights: Path, model: Model, stop: asyncio.Event
) -> AsyncGenerator[EngineClient]:
    from diwan.embedded import launch
    from diwan.pool.engine import EngineClient
    from diwan.pool.vllm import LOOPBACK, Engine, Patience

    host = launch_of(settings, weights)

    def bound(program: Path, arguments: Sequence[str]) -> Sequence[str]:
        return launch.command(signal.SIGTERM, program, *arguments)

    async with EngineClient(
        f"http://{LOOPBACK}:{host.port}", seconds=settings.engine_timeout_s, room=host.room, api_key=host.key
    ) as client:
        engine = Engine(
            model,
            host,
            bound=bound,
            healthy=client.healthy,
            environment=os.environ,
            output=settings.engine_log,
            patience=Patience(start_s=settings.engine_start_s),
        )
        async with engine.serving(stop):
            yield client


def launch_of(settings: Settings, weights: Path) -> Launch:
    """What the settings say of this host's vLLM. Raises `InvalidInput` for options that it may not be given."""
    from pydantic import TypeAdapter, ValidationError

    from diwan.embedded.ports import claim
    from diwan.pool.registry import EngineArguments
    from diwan.pool.vllm import Launch

    try:
        arguments = TypeAdapter[tuple[str, ...]](EngineArguments).validate_python(shlex.split(settings.engine_args))
    except (ValidationError, ValueError) as error:
        said = (
            error.errors(include_input=False, include_url=False)[0]["msg"] if isinstance(error, ValidationError) else ""
        )
        raise InvalidInput(
            "settings.engine_args", f"DIWAN_ENGINE_ARGS cannot be used. {said}".strip(), "Correct the setting."
        ) from None
    return Launch(
        program=settings.engine_program,
        weights=weights.expanduser().absolute(),
        port=claim(settings.engine_port, "DIWAN_ENGINE_PORT"),
        key=_key(settings) or secrets.token_hex(16),
        room=settings.engine_room,
        tensor_parallel=settings.engine_tensor_parallel,
        arguments=arguments,
        batch_invariant=bool(settings.engine_batch_invariant),
    )


def batch_invariant_of(settings: Settings) -> Known:
    """Whether the engine runs in that mode: of one started here it is known, of another the operator says it."""
    said = settings.engine_batch_invariant
    if said is None:
        return Known.NO if settings.engine_weights is not None else Known.UNKNOWN
    return Known.YES if said else Known.NO


def _key(settings: Settings) -> str:
    return settings.engine_key.get_secret_value() if settings.engine_key else ""
