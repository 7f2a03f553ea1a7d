"""Serves the vault until the process is told to stop."""

from __future__ import annotations

import contextlib

import structlog

from diwan.local import listen
from diwan.vault import alone, setup
from diwan.vault.server import create_app
from diwan.vault.setup import VaultFiles

log = structlog.get_logger()


def serve(files: VaultFiles, location: str, *, mode: int = 0o600) -> None:
    """Run the vault until SIGTERM or SIGINT. Raises as `local.listen` and `setup.open_vault` do."""
    with listen.listening(location, "vault", mode=mode) as listener, contextlib.ExitStack() as stack:
        stack.enter_context(alone.serving(files.database))
        store, hashes = setup.open_vault(files)
        stack.callback(store.close)
        if left := setup.left_behind(files):
            log.warning("vault.copies.left_behind", files=[path.name for path in left])
        listen.run(create_app(store, hashes), listener, "vault")
