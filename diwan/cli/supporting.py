"""Processes of the stack on one machine that the others lean on: `issuer` and `engine`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from diwan.cli import running

if TYPE_CHECKING:
    from diwan.settings import Settings


def register(app: typer.Typer) -> None:
    app.command("issuer")(issuer)
    app.command("engine")(engine)


def issuer() -> None:
    """Serve access tokens for the demo users: one machine, invented cases only."""
    from diwan.embedded.issuer import FOLDER
    from diwan.embedded.issuer_app import serve

    settings = running.begin("issuer")
    serve(settings.home / FOLDER, settings.text("issuer_url"), settings.issuer_port)


def engine() -> None:
    """Serve the demo engine: fixed rules behind vLLM's protocol, not a language model."""
    asyncio.run(_engine(running.begin("engine")))


async def _engine(settings: Settings) -> None:
    from diwan.embedded.demo_engine.app import create_app

    with running.listener("127.0.0.1", settings.engine_port, "DIWAN_ENGINE_PORT") as socket:
        async with running.stop_signal() as stop:
            await running.serve(create_app(), socket, stop)
