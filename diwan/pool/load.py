"""What an engine says of its load at /metrics (vLLM's names; an engine that lacks one counts 0)."""

from __future__ import annotations

from dataclasses import dataclass

_PREFIX = "vllm:"


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Calls that run and wait in it, the share of its KV cache in use (0 to 1); tokens since it started: those whose
    prefix was looked for and found in the cache, and all that it read and made."""

    running: int = 0
    waiting: int = 0
    kv_used: float = 0.0
    prefix_queries: int = 0
    prefix_hits: int = 0
    tokens: int = 0


def load_of(metrics: bytes) -> EngineLoad:
    """Of Prometheus text. Several series of a name (engines behind one server) are added up; of caches the fullest."""
    found: dict[str, list[float]] = {}
    for line in metrics.decode("utf-8", "replace").splitlines():
        if line.startswith(_PREFIX):
            name, _, said = line.removeprefix(_PREFIX).rpartition(" ")
            try:
                found.setdefault(name.partition("{")[0], []).append(float(said))
            except ValueError:
                continue

    def total(name: str) -> int:
        # NaN and infinities compare as nothing that could be counted.
        return int(sum(value for value in found.get(name, ()) if 0 <= value < 2**63))

    return EngineLoad(
        running=total("num_requests_running"),
        waiting=total("num_requests_waiting"),
        kv_used=max((value for value in found.get("kv_cache_usage_perc", ()) if 0 <= value <= 1), default=0.0),
        prefix_queries=total("prefix_cache_queries_total"),
        prefix_hits=total("prefix_cache_hits_total"),
        tokens=total("prompt_tokens_total") + total("generation_tokens_total"),
    )
