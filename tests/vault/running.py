"""A vault in a process of its own, as `diwan vault` runs it, in a folder short enough for a socket's path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diwan.vault import callers
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring
from diwan.vault.setup import VaultFiles, initialise, is_initialised

_PROGRAM = """
import logging
import sys
from pathlib import Path
from diwan.vault.listen import serve
from diwan.vault.setup import VaultFiles
logging.basicConfig(level=logging.DEBUG)  # what a library would say, it says here
serve(VaultFiles.in_folder(Path(sys.argv[1])), sys.argv[2])
"""


async def no_pause(_: float) -> None:
    """Instead of asyncio.sleep: retries follow at once."""


@dataclass
class Vault:
    """A running vault. `output` has its log after `stop` or `kill`."""

    folder: Path
    process: subprocess.Popen[str]
    output: str = ""
    _lines: list[str] = field(default_factory=list[str])

    @property
    def socket(self) -> Path:
        return self.folder / "v.sock"

    def token(self, caller: Caller) -> str:
        return callers.read_token(self.folder / f"{caller}.token")

    def keyring(
        self, caller: Caller, pause: Callable[[float], Awaitable[None]] = no_pause, **more: Any
    ) -> VaultKeyring:
        return VaultKeyring(f"unix:{self.socket}", self.token(caller), pause=pause, **more)

    def kill(self) -> None:
        """SIGKILL: nothing of it can be flushed any more."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        self._end(signal.SIGTERM)
        return self.process.returncode

    def _end(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=30)
        self.output = "".join(self._lines) + rest
        self._lines = [self.output]

    @classmethod
    def start(cls, folder: Path, location: str = "") -> Vault:
        """Initialise where needed, start, return once it listens."""
        files = VaultFiles.in_folder(folder)
        if not is_initialised(files):
            initialise(files, {caller: folder / f"{caller}.token" for caller in Caller})
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(folder), location or f"unix:{folder}/v.sock"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        vault = cls(folder, process)
        assert process.stdout is not None
        for line in process.stdout:
            vault._lines.append(line)
            if "vault.started" in line:
                return vault
        raise AssertionError(f"the vault did not start: {''.join(vault._lines)}")


@contextmanager
def running(folder: Path) -> Generator[Vault, None, None]:
    vault = Vault.start(folder)
    try:
        yield vault
    finally:
        vault.kill()
