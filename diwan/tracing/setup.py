"""Switches tracing on in a process, where a setting says where spans go. OpenTelemetry is loaded only then."""

from __future__ import annotations

import os
from pathlib import Path

from diwan.tracing import spans


def configure(process: str, *, file: Path | None, endpoint: str) -> None:
    """Spans of this process (`web`, `worker`, …) go to a file, to a collector's address, to both, or nowhere.

    OpenTelemetry's own variables are taken out of the environment: where traces go is for our settings to say.
    """
    if file is None and not endpoint:
        return
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    from diwan.tracing.export import OpenTelemetry

    spans.use(OpenTelemetry(process, file=file, endpoint=endpoint))
