"""A case's activities called as the workflows call them: real Postgres, the demo engine in memory, a settable clock."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx
from temporalio.testing import ActivityEnvironment

from activities.casework import CaseActivities
from activities.correspondence import Correspondence
from activities.dossier import Dossier, read_dossier
from activities.model import ModelActivities
from activities.registers import Registers
from activities.reminders import Reminders
from activities.runs import RunActivities, RunSettings
from agents.loop import CallModel, CallTools, GiveUp, Turn, next_move
from agents.registry import spec_of
from diwan.documents.readers import Readers
from diwan.documents.typeset import render_letter
from diwan.domain.actor import Actor
from diwan.domain.case import Plan
from diwan.domain.event import DocumentRef, FollowUp
from diwan.domain.task import ActInput, TaskAct, TaskKind
from diwan.embedded.demo_engine.app import MODEL, create_app
from diwan.embedded.demo_engine.failures import Failure
from diwan.embedded.demo_registry import demo_registry
from diwan.pool.engine import EngineClient
from diwan.pool.gate import Gate
from diwan.pool.health import Health
from diwan.pool.perimeter import INSIDE, Way
from diwan.store import cases, letters, notifications, tasks
from diwan.store.acts import act_on_task
from diwan.store.change import CaseRow
from diwan.store.database import Database
from diwan.store.documents import NewDocument
from diwan.store.entries import EntryRow, entries_of
from diwan.store.intake import Accepted, accept_event
from diwan.store.letters import LetterRow
from diwan.store.notifications import NotificationRow
from diwan.store.tasks import TaskRow
from tests.support.clocks import Machine, watch_on
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT, a_document, application, envelope, sender
from tests.support.keyring import MemoryKeyring
from tests.support.wires import TransportWire
from workflows.calls import BlockInput, CaseRef, ModelCall, RunEnd, RunStart, StepRef, ToolCall

Out = TypeVar("Out")

HOST = "a-host"

# Piece → text; the demo engine's rules read them, and they make the application of `ANSWERS` good.
PIECES = {
    "identity_card": "CARTE NATIONALE D'IDENTITÉ\nNom : EXEMPLAIRE\nNationalité : marocaine\nN° CIN : ZZ100001\n",
    "sale_promise": (
        "PROMESSE DE VENTE\nIl s'agit de la première vente du logement.\nNombre de pièces : 3\n"
        "Prix de vente total : 290 000 dirhams\n"
    ),
    "habitation_permit": "PERMIS D'HABITER\nDate de délivrance : 18/03/2024\nNombre de pièces : 3\n",
    "non_ownership_certificate": (
        "CERTIFICAT DE NON-PROPRIÉTÉ\nLe conservateur atteste que la personne ne possède aucun logement.\n"
    ),
}


class Clock:
    """What time the activities have: set `now` to move it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Wire(httpx.AsyncBaseTransport):
    """The demo engine without a socket; `sent` has the bodies of what was asked. `says` changes its answers."""

    def __init__(self, failure: Failure | None, says: Mapping[str, object] | None = None) -> None:
        self._engine = httpx.ASGITransport(create_app(failure))
        self._says = says
        self.sent: list[bytes] = []
        self.before: Callable[[], Awaitable[None]] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.sent.append(await request.aread())
        if self.before is not None:
            await self.before()
        answer = await self._engine.handle_async_request(request)
        if self._says is None or request.method != "POST":
            return answer
        changed = json.dumps({**json.loads(await answer.aread()), **self._says}).encode()
        return httpx.Response(answer.status_code, stream=httpx.ByteStream(changed))


class Flood(httpx.AsyncByteStream):
    """A body that goes on for as long as somebody reads it."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"choices": [{"message": {"content": "'
        while True:
            yield b"a" * 65_536


class EndlessWire(Wire):
    """An ASGI transport in memory ends a body before it gives it out, so what never ends is made here."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(await request.aread())
        return httpx.Response(200, stream=Flood())


@dataclass
class Office:
    """`clock` is true time; its activities and its senders go by the wall clock of its `machine`."""

    database: TestDatabase
    web: Database
    worker: Database
    pool: Database
    keyring: MemoryKeyring
    readers: Readers
    clock: Clock
    machine: Machine = field(init=False)
    models: list[str] = field(default_factory=lambda: [MODEL])

    def __post_init__(self) -> None:
        self.machine = Machine(self.clock)

    @property
    def correspondence(self) -> Correspondence:
        return Correspondence(self.worker, self.keyring, render_letter, self.machine.wall)

    @property
    def reminders(self) -> Reminders:
        return Reminders(self.worker, self.keyring, render_letter, self.machine.wall, watch_on(self.machine))

    @property
    def casework(self) -> CaseActivities:
        watch = watch_on(self.machine)
        return CaseActivities(self.worker, self.keyring, self.correspondence, self.reminders, self.machine.wall, watch)

    @property
    def registers(self) -> Registers:
        return Registers(self.worker, self.keyring)

    @property
    def runs(self) -> RunActivities:
        settings = RunSettings(models_of=lambda _procedure, _capability, _language: self.models)
        return RunActivities(self.worker, self.keyring, self.readers, self.registers, settings, self.machine.wall)

    @asynccontextmanager
    async def engine(self, wire: Wire, *, way: Way = INSIDE, **registered: object) -> AsyncGenerator[ModelActivities]:
        """The pool worker's activity beside the engine on `wire`; `registered` changes the model's entry."""
        model = demo_registry().model(MODEL).model_copy(update=registered)
        async with EngineClient("http://engine", wire=TransportWire(wire), way=way, max_bytes=1_000_000) as client:
            health = Health(client, MODEL, Gate(8), most=8)
            yield ModelActivities(self.pool, self.keyring, client, model, self.machine.wall, host=HOST, health=health)

    # --- what comes in ---------------------------------------------------------------------------------------------

    async def open(
        self, reference: str, pieces: Mapping[str, str] = PIECES, *, taken: bool = True, **changed: Any
    ) -> str:
        """A case with these documents (piece → text); its id. Its application is taken up, unless a workflow is to."""
        refs = [DocumentRef(name=f"{piece}.txt", piece=piece, part=piece) for piece in pieces]
        parts: list[NewDocument] = [a_document(text, piece=piece) for piece, text in pieces.items()]
        accepted: Accepted = await accept_event(
            self.web,
            self.keyring,
            envelope(f"open-{reference}"),
            application(reference, documents=refs, **changed),
            parts,
            client=sender(),
            now=self.machine.wall(),
        )
        assert accepted.case_id is not None
        if taken:
            await self.drain(accepted.case_id)
        return accepted.case_id

    async def tell(self, case: str, type_: str, pieces: Mapping[str, str] | None = None, **said: Any) -> None:
        """A follow-up event is accepted now; nobody has taken it up yet."""
        pieces = pieces or {}
        refs = [DocumentRef(name=f"{piece}.txt", piece=piece, part=piece) for piece in pieces]
        await accept_event(
            self.web,
            self.keyring,
            envelope(f"told-{uuid.uuid4()}", type_, subject=case),
            FollowUp(documents=refs, **said),
            [a_document(text, piece=piece) for piece, text in pieces.items()],
            client=sender(),
            now=self.machine.wall(),
        )

    async def act(self, actor: Actor, case: str, act: TaskAct, **given: Any) -> str:
        """The act on the case's only open task, not taken up yet; the task's id."""
        (task,) = [task for task in await self.tasks(case) if task.live]
        given_ = ActInput(digest=task.digest, **given)
        key = f"{act.value}-{task.digest[:20]}"
        await act_on_task(self.web, self.keyring, actor, task.id, act, given_, key=key, now=self.machine.wall())
        return task.id

    # --- the activities ----------------------------------------------------------------------------------------------

    async def drain(self, case: str) -> Plan:
        return await ActivityEnvironment().run(self.casework.drain_inbox, CaseRef(tenant=TENANT, case=case))

    async def wake(self, case: str) -> Plan:
        return await ActivityEnvironment().run(self.casework.wake, CaseRef(tenant=TENANT, case=case))

    async def perform(self, step: StepRef) -> Plan:
        return await ActivityEnvironment().run(self.casework.perform_step, step)

    async def block(self, case: str, code: str) -> Plan:
        step = await self.here(case)
        return await ActivityEnvironment().run(self.casework.block_case, BlockInput(**step.model_dump(), code=code))

    async def begin(self, step: StepRef) -> RunStart:
        return await ActivityEnvironment().run(self.runs.begin_run, step)

    async def tool(self, step: StepRef, run: RunStart, call: int, position: int, tool: str) -> bool:
        given = ToolCall(**step.model_dump(), run=run.run, spec=run.spec, call=call, position=position, tool=tool)
        return await ActivityEnvironment().run(self.runs.call_tool, given)

    async def end(self, step: StepRef, run: RunStart, reason: str = "") -> Plan:
        given = RunEnd(**step.model_dump(), run=run.run, spec=run.spec, reason=reason)
        return await ActivityEnvironment().run(self.runs.end_run, given)

    async def ask(
        self, model: ModelActivities, step: StepRef, run: RunStart, call: int, *, final: bool, waited_s: float = 0.0
    ) -> Turn:
        """`waited_s`: in its queue, before."""
        given = ModelCall(**step.model_dump(), run=run.run, spec=run.spec, call=call, final=final)
        environment = ActivityEnvironment()
        started = environment.info.current_attempt_scheduled_time + timedelta(seconds=waited_s)
        environment.info = replace(environment.info, started_time=started)
        return await environment.run(model.call_model, given)

    # --- whole stretches ---------------------------------------------------------------------------------------------

    async def examining(self, reference: str, pieces: Mapping[str, str] = PIECES) -> tuple[StepRef, RunStart]:
        """A new case with its receipt issued and its first run begun."""
        case = await self.open(reference, pieces)
        await self.perform(await self.here(case))
        step = await self.here(case)
        return step, await self.begin(step)

    async def examine(self, step: StepRef, wire: Wire | None = None) -> Plan:
        """The whole run of a step, as the agent's workflow drives it."""
        run = await self.begin(step)
        turns = list(run.turns)
        async with self.engine(wire or Wire(None)) as model:
            while True:
                move = next_move(spec_of(run.spec), turns, elapsed_s=0)
                if isinstance(move, CallModel):
                    turns.append(await self.ask(model, step, run, len(turns) + 1, final=move.final))
                elif isinstance(move, CallTools):
                    worked = [await self.tool(step, run, len(turns), r.position, r.tool) for r in move.requests]
                    turns[-1] = turns[-1].with_results(worked)
                else:
                    return await self.end(step, run, move.reason if isinstance(move, GiveUp) else "")

    async def reviewed(self, reference: str, pieces: Mapping[str, str] = PIECES) -> str:
        """A new case at its review, examined by the demo engine."""
        case = await self.open(reference, pieces)
        await self.perform(await self.here(case))
        plan = await self.examine(await self.here(case))
        assert plan.step == "review"
        return case

    # --- what is stored ----------------------------------------------------------------------------------------------

    async def row(self, case: str) -> CaseRow:
        async with self.worker.transaction(TENANT) as conn:
            return await cases.get_case(conn, TENANT, case)

    async def here(self, case: str) -> StepRef:
        state = (await self.row(case)).state
        return StepRef(tenant=TENANT, case=case, step=state.step, visit=state.visit)

    async def dossier(self, case: str) -> Dossier:
        cipher = await self.keyring.cipher(TENANT, case)
        async with self.worker.transaction(TENANT) as conn:
            return await read_dossier(conn, await cases.get_case(conn, TENANT, case), cipher)

    async def entries(self, case: str, kind: str) -> list[EntryRow]:
        async with self.worker.transaction(TENANT) as conn:
            return [entry for entry in await entries_of(conn, TENANT, case) if entry.kind == kind]

    async def detail(self, case: str, kind: str) -> dict[str, Any]:
        """What the only entry of this kind says."""
        (entry,) = await self.entries(case, kind)
        return json.loads(entry.header)["detail"]

    async def letters(self, case: str) -> list[LetterRow]:
        cipher = await self.keyring.cipher(TENANT, case)
        async with self.worker.transaction(TENANT) as conn:
            return await letters.letters_of(conn, TENANT, case, cipher)

    async def notifications(self, case: str) -> list[NotificationRow]:
        async with self.worker.transaction(TENANT) as conn:
            return await notifications.notifications_of(conn, TENANT, case)

    async def tasks(self, case: str, kind: TaskKind | None = None) -> list[TaskRow]:
        async with self.worker.transaction(TENANT) as conn:
            found = await tasks.tasks_of(conn, TENANT, case)
        return [task for task in found if kind is None or task.kind is kind]

    def stored(self, query: str, *values: str) -> list[tuple[object, ...]]:
        """Rows past row security."""
        with self.database.superuser() as connection:
            return connection.execute(query.encode(), values).fetchall()
