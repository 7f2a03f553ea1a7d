"""One real server for all tests here, and one stack that it answers for in the demo engine's place."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.scenario.conftest import an_office
from tests.scenario.office import Office
from tests.vllm.server import ENVIRONMENT, Server, own_engine

# A model call's time limit: long enough for a busy machine, short enough to wait for once.
CALL_LIMIT_S = 60
# How long a case waits for its engine: longer than a server takes to start again.
PATIENCE_S = 1_200


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server]:
    assert (ENVIRONMENT / "tiny-mistral" / "model.safetensors").exists(), "Type: make test-vllm"
    folder: Path = tmp_path_factory.mktemp("vllm")
    made = Server(folder)
    try:
        seconds = await made.start()
        print(f"vLLM started in {seconds:.0f} s")
        yield made
    finally:
        await made.kill()


@pytest.fixture(scope="session")
async def office(server: Server) -> AsyncGenerator[Office]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DIWAN_ENGINE_TIMEOUT_S", str(CALL_LIMIT_S))
        async with an_office(engine=own_engine(server), agent_patience_s=PATIENCE_S) as made:
            yield made
