"""An agent that reads pages, on pydantic-ai's TemporalDurability, as its documentation sets one up.

    .venv-bench/bin/python -m bench.rival.agent case|pool ADDRESS ENGINE ROOM

Same engine of zero latency (through its OpenAI provider), same tool, same server, model calls on the model's queue in a
process of their own. Its tools are activities on the case's queue: so its documentation has them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta

from pydantic_ai import Agent, RunContext
from pydantic_ai.durable_exec.temporal import PydanticAIPlugin, PydanticAIWorkflow, TemporalDurability
from pydantic_ai.durable_exec.temporal._durability import worker_registrations
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

CASE_QUEUE = "diwan-cases"
MODEL = "zero-latency"
MODEL_QUEUE = f"diwan-model-{MODEL}"
NAMESPACE = "rival"
_LINE = "Le demandeur modèle atteste l'exactitude de cette pièce inventée. هذه وثيقة نموذجية لا تخص أحدا. "

agent = Agent(
    OpenAIChatModel(
        MODEL, provider=OpenAIProvider(base_url=f"{os.environ.get('BENCH_ENGINE', 'http://unset')}/v1", api_key="none")
    ),
    name="reader",
    deps_type=int,
    instructions="Read the pages of the dossier, then say that you have read enough.",
    capabilities=[
        TemporalDurability(
            model_activity_config={"task_queue": MODEL_QUEUE, "start_to_close_timeout": timedelta(minutes=5)}
        )
    ],
)


@agent.tool
async def documents_read_page(context: RunContext[int], document: str, page: int) -> dict[str, str | int]:
    """The text of one page of a document. `deps` is how many bytes of it there are."""
    text = (f"Pièce {document}, page {page}. " + _LINE * (1 + context.deps // 100)).encode()[: context.deps]
    return {"document": document, "page": page, "pages": 5, "text": text.decode(errors="ignore")}


@workflow.defn(name="RivalRun")
class RivalRun(PydanticAIWorkflow):
    __pydantic_ai_agents__ = (agent,)

    @workflow.run
    async def run(self, page_bytes: int) -> str:
        return (await agent.run("Examine the dossier of one document, d1.", deps=page_bytes)).output


async def work(part: str, address: str, room: int) -> None:
    client = await Client.connect(address, namespace=NAMESPACE, plugins=[PydanticAIPlugin()])
    if part == "case":
        worker = Worker(
            client,
            task_queue=CASE_QUEUE,
            workflows=[RivalRun],
            max_cached_workflows=500,
            max_concurrent_workflow_tasks=16,
            max_concurrent_activities=20,
        )
    else:
        durability = TemporalDurability.from_agent(agent)
        assert durability is not None
        activities, _ = worker_registrations(durability)
        worker = Worker(
            client,
            task_queue=MODEL_QUEUE,
            activities=activities,
            max_concurrent_activities=room,
            disable_eager_activity_execution=True,
        )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[4])))
    os._exit(0)
