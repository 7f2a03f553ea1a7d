"""The lean sandbox spares what nobody asks for, and forbids what the SDK's does."""

from __future__ import annotations

from pathlib import Path

from temporalio.converter import CompositePayloadConverter, WithSerializationContext

from diwan.temporal import DATA_CONVERTER
from tests.replay.changed import AgentRunAsItIs, LooksAtTheClock
from tests.replay.test_replay import FOLDER, failures
from tests.support.histories import read


def test_nothing_of_ours_asks_whose_a_payload_is() -> None:
    """If this fails, `LeanSandbox` withholds what is now needed."""
    converter = DATA_CONVERTER.payload_converter_class()
    assert isinstance(converter, CompositePayloadConverter)
    asking = [*converter.converters.values(), DATA_CONVERTER.failure_converter_class()]
    assert [type(each).__name__ for each in asking if isinstance(each, WithSerializationContext)] == []
    assert DATA_CONVERTER.payload_codec is None
    assert DATA_CONVERTER.external_storage is None


async def test_a_workflow_that_looks_at_the_machines_clock_is_stopped() -> None:
    case: Path = sorted(FOLDER.glob("*/*.Case.json"))[-1]
    stopped = await failures([read(case)], LooksAtTheClock, AgentRunAsItIs)
    assert "RestrictedWorkflowAccessError" in "".join(stopped.values()), stopped
