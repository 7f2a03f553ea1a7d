"""`diwan up`: every part a process of its own, started in order, restarted when it dies, stopped in order.

    servers   postgres temporal vault signer issuer engine     together
    bootstrap migrations, the demo tenant                in this process
    services  web worker pool relay                      together

Stopping goes the other way round, so that nobody loses what they talk to while they finish.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from diwan.domain.errors import DiwanError, NotFound
from diwan.embedded import accounts, home
from diwan.embedded.child import Child, Say
from diwan.embedded.home import Home
from diwan.embedded.parts import SERVERS, SERVICES, Options, Parts
from diwan.signer import memory as signer_memory
from diwan.vault import setup as vault_setup

STACK_FILE = "stack.json"
_START_WITHIN_S = 120.0  # much more than it takes; a machine may be busy
_ROTATE_EVERY_S = 10.0

Bootstrap = Callable[[Parts], Awaitable[None]]


@dataclass(frozen=True)
class Urls:
    """Addresses of a running stack."""

    web: str
    issuer: str
    engine: str
    temporal: str


class Stack:
    """One embedded stack. `start` and `stop` from the same event loop, in a thread that lives as long.

    `bootstrap` is awaited when the servers run and before the services start; `say` gets lines for the operator.
    """

    def __init__(self, options: Options, *, bootstrap: Bootstrap, say: Say) -> None:
        self.options = options
        self.home = Home(options.home)
        self._bootstrap = bootstrap
        self._say = say
        self._parts: Parts | None = None
        self._children: dict[str, Child] = {}
        self._chores: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def urls(self) -> Urls:
        """Raises `NotFound` before `start`."""
        parts = self._running()
        return Urls(parts.url, parts.issuer_url, parts.engine_url, parts.temporal.address)

    def pid(self, name: str) -> int | None:
        """The pid of a part while it lives."""
        child = self._children.get(name)
        return None if child is None else child.pid

    def restarts(self) -> dict[str, int]:
        """How often each part died and was started again."""
        return {name: child.restarts for name, child in self._children.items()}

    def database_url(self, role: str) -> str:
        """libpq URL of the stack's database for a role."""
        return self._running().postgres.url(role)

    async def start(self) -> None:
        """Return when every part serves. Raises what is wrong with what to type, and leaves nothing running."""
        dead = await asyncio.to_thread(self.home.open)
        try:
            await self._after_a_death(dead)
            self._parts = parts = Parts(self.options, self.home)
            await asyncio.to_thread(self._prepare, parts)
            self._chores = asyncio.create_task(self._do_chores(), name="stack-chores")
            await self._start_together(SERVERS)
            await asyncio.to_thread(parts.postgres.provision)
            if "temporal" in self._children:
                await parts.temporal.provision()
            await self._bootstrap(parts)
            await self._start_together(SERVICES)
            self.home.write(STACK_FILE, parts.as_settings())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop every part, services first; then give the home back."""
        if self._chores is not None:
            self._chores.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._chores
            self._chores = None
        self.home.remove(STACK_FILE)
        for child in self._children.values():
            await child.retire()
        for names in (SERVICES, ("engine", "issuer"), ("vault", "signer", "temporal", "postgres")):
            await asyncio.gather(*(self._children[name].stop() for name in names if name in self._children))
        self._children.clear()
        self.home.remove("processes.json")
        self.home.close()

    def hasten(self) -> None:
        """End all parts at once: the operator does not want to wait. `stop` then returns soon."""
        for child in self._children.values():
            child.hasten()

    async def stop_part(self, name: str) -> None:
        """Stop one part and leave it stopped until `start_part`."""
        await self._children.pop(name).stop()

    async def start_part(self, name: str) -> None:
        """Start one part and wait until it serves."""
        child = Child(
            self._running().program(name), self.home.logs / f"{name}.log", say=self._say, changed=self._record
        )
        self._children[name] = child
        await child.start(within_s=_START_WITHIN_S)

    async def wait_ready(self, name: str, *, within_s: float = _START_WITHIN_S) -> None:
        """Return when a part serves (again). Raises TimeoutError."""
        ready = self._running().program(name).ready
        async with asyncio.timeout(within_s):
            while True:
                if await ready():
                    return
                await asyncio.sleep(0.05)

    async def wait_restarted(self, name: str, pid: int, *, within_s: float = _START_WITHIN_S) -> None:
        """Return when a part serves again in another process than `pid`. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while self.pid(name) in (None, pid):
                await self._changed.wait()
                self._changed.clear()
        await self.wait_ready(name, within_s=within_s)

    async def _after_a_death(self, pid: int | None) -> None:
        orphans = self.home.orphans()
        if pid is not None or orphans:
            self._say(f"the last run (pid {pid or 'unknown'}) ended without stopping; taking over what it left")
        if orphans:
            self._say("ending its processes: " + ", ".join(f"{orphan.name} ({orphan.pid})" for orphan in orphans))
            await asyncio.to_thread(home.end, orphans)

    def _prepare(self, parts: Parts) -> None:
        home.check_space(parts.postgres.place)
        parts.postgres.prepare()
        parts.write_files()
        parts.temporal.prepare()
        accounts.make_private(parts.vault_socket.parent, None)
        accounts.make_private(parts.vault_files.database.parent, None)
        if not vault_setup.is_initialised(parts.vault_files):
            vault_setup.initialise(parts.vault_files, parts.vault_tokens)
        vault_setup.add_callers(parts.vault_files, parts.vault_tokens)
        accounts.make_private(parts.signer_folder, None)
        signer_memory.initialise(parts.signer_folder)

    async def _start_together(self, names: Iterable[str]) -> None:
        wanted = [name for name in names if self.options.starts(name)]
        tasks = [asyncio.create_task(self.start_part(name), name=f"start-{name}") for name in wanted]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _do_chores(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY_S)
            for child in tuple(self._children.values()):
                try:
                    await asyncio.to_thread(child.rotate)
                except OSError as error:  # a full disk: the log stays large until there is room again
                    self._say(f"the log {child.log} could not be rotated: {error.strerror}")

    def _record(self) -> None:
        records = (child.record() for child in self._children.values())
        try:
            self.home.record(record for record in records if record is not None)
        except DiwanError as error:  # a full disk must not make us lose the child that was just started
            self._say(f"the list of processes could not be written: {error}")
        self._changed.set()

    def _running(self) -> Parts:
        if self._parts is None:
            raise NotFound("stack.not_started", "The stack has not been started.", "")
        return self._parts
