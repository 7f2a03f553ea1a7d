"""Where the `temporal` program comes from: PATH, the user's cache, the SDK's download, or built by Go.

`python -m diwan.embedded.temporal_program` finds or fetches it (`make setup`), silently when it is there; it exits
with 69 when only a Go tool chain is missing, which `make setup` can bring.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from diwan.domain.errors import DiwanError, Final, Unavailable

# Newer tags do not build with `go install`: their go.mod has a replace directive.
BUILT_VERSION = "1.5.1"
MODULE = f"github.com/temporalio/cli/cmd/temporal@v{BUILT_VERSION}"
_DOWNLOAD_PATIENCE_S = 15.0
_PROGRESS_EVERY_S = 15.0
GO_MISSING = 69  # EX_UNAVAILABLE

Say = Callable[[str], None]


class GoMissing(Final):
    """Only Go is missing to build the program."""


def cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diwan"


def find() -> Path | None:
    """The program if it is there already: on PATH, else in the user's cache."""
    on_path = shutil.which("temporal")
    if on_path:
        return Path(on_path)
    return next((path for path in (_built(), _downloaded()) if os.access(path, os.X_OK)), None)


def require() -> Path:
    """The program, or `Final` with what to type."""
    program = find()
    if program is None:
        raise Final("temporal.missing", "The `temporal` program is not installed.", "Type: make setup")
    return program


def provide(say: Say) -> Path:
    """Find the program, else download it, else build it (minutes, once). Raises `GoMissing` or `Unavailable`."""
    program = find()
    if program is not None:
        return program
    say("temporal: not on PATH nor in the cache; asking the SDK to download it")
    if _download(_downloaded()):
        return _downloaded()
    go = shutil.which("go")
    if go is None:
        raise GoMissing("temporal.no_go", "There is no `temporal`, no download and no Go to build it with.", "Get Go.")
    say(f"temporal: no download to be had; building {MODULE} with {go} (about 4 minutes, once)")
    _build(go, _built(), say)
    return _built()


def _built() -> Path:
    return cache_dir() / f"temporal-{BUILT_VERSION}" / "temporal"


def _downloaded() -> Path:
    return cache_dir() / f"temporal-sdk-{importlib.metadata.version('temporalio')}" / "temporal"


# --- the SDK's download ------------------------------------------------------------------------------------------

_DOWNLOAD = """
import asyncio, sys
from temporalio.testing import WorkflowEnvironment
async def main():
    server = await WorkflowEnvironment.start_local(download_dest_dir=sys.argv[1])
    await server.shutdown()
asyncio.run(main())
"""


def _download(target: Path) -> bool:
    """Let the SDK fetch the program; False when it cannot, or when nothing arrives for a while."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        child = subprocess.Popen(
            [sys.executable, "-c", _DOWNLOAD, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        arrived, since = -1, time.monotonic()
        while child.poll() is None:
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
            if size != arrived:
                arrived, since = size, time.monotonic()
            elif time.monotonic() - since > _DOWNLOAD_PATIENCE_S:
                child.kill()
            time.sleep(0.1)
        programs = [path for path in Path(folder).iterdir() if path.is_file() and os.access(path, os.X_OK)]
        if child.returncode != 0 or len(programs) != 1:
            return False
        programs[0].replace(target)
    return True


# --- Go ----------------------------------------------------------------------------------------------------------


def _build(go: str, target: Path, say: Say) -> None:
    """`go install` into a folder of its own, then rename: half a program is never found."""
    target.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, tempfile.TemporaryFile() as output:
        environment: Mapping[str, str] = {**os.environ, "GOBIN": folder}
        child = subprocess.Popen(
            [go, "install", MODULE], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            while True:
                try:
                    child.wait(_PROGRESS_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    say(f"temporal: still building, {time.monotonic() - started:.0f} s")
        finally:
            child.kill()
            child.wait()
        if child.returncode != 0:
            output.seek(0)
            reason = output.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise Unavailable(
                "temporal.build_failed",
                f"Building the `temporal` program failed: {reason[-1][:300]}",
                "Install `temporal` on PATH yourself, or check Go's module proxy and try again.",
            )
        (Path(folder) / "temporal").replace(target)
    say(f"temporal: built in {time.monotonic() - started:.0f} s")


def main() -> int:
    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    try:
        provide(say)
    except GoMissing as error:
        say(str(error))
        return GO_MISSING
    except DiwanError as error:
        say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
