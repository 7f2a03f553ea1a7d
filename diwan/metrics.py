"""The figures that operators watch: every name, what it counts and by what. Exposed as Prometheus text at /metrics.

Labels are few and bounded: ministries, kinds, queues, models, machine names of errors; never a case, a person or an
address. docs/operations.md says what to do at which value, deploy/alerts.yaml has rules; a test compares the three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Labels = tuple[str, ...]

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
ALL: dict[str, Figure] = {}


class Figure:
    """One name with its values by label. Written from one thread as a rule; a rare lost count does no harm."""

    def __init__(self, name: str, says: str, *labels: str) -> None:
        self.name = name
        self.says = says
        self.labels = labels
        self.values: dict[Labels, float] = {}
        ALL[name] = self

    def family(self) -> Metric:
        raise NotImplementedError


class Number(Figure):
    """One value a set of labels."""

    def add(self, amount: float = 1, *labels: str) -> None:
        self.values[labels] = self.values.get(labels, 0) + amount

    def _of(self, kind: type[CounterMetricFamily | GaugeMetricFamily]) -> Metric:
        made = kind(self.name, self.says, labels=self.labels)
        for labels, value in self.values.items():
            made.add_metric(labels, value)
        return made


class Counter(Number):
    """Only rises while the process lives. Its name ends in `_total`."""

    def family(self) -> Metric:
        from prometheus_client.core import CounterMetricFamily

        return self._of(CounterMetricFamily)


class Gauge(Number):
    """What is so now."""

    def set(self, value: float, *labels: str) -> None:
        self.values[labels] = value

    def replace(self, values: Mapping[Labels, float]) -> None:
        """All values at once: what is not in `values` is gone."""
        self.values = dict(values)

    def family(self) -> Metric:
        from prometheus_client.core import GaugeMetricFamily

        return self._of(GaugeMetricFamily)


class Histogram(Figure):
    """How long something took, in seconds."""

    def __init__(self, name: str, says: str, *labels: str) -> None:
        super().__init__(name, says, *labels)
        self._buckets: dict[Labels, list[int]] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        buckets = self._buckets.setdefault(labels, [0] * (len(_SECONDS) + 1))
        buckets[next((n for n, bound in enumerate(_SECONDS) if seconds <= bound), len(_SECONDS))] += 1
        self.values[labels] = self.values.get(labels, 0) + seconds

    def family(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        made = HistogramMetricFamily(self.name, self.says, labels=self.labels)
        for labels, buckets in self._buckets.items():
            below, bounds = 0, list[tuple[str, float]]()
            for bound, count in zip((*map(str, _SECONDS), "+Inf"), buckets, strict=True):
                below += count
                bounds.append((bound, below))
            made.add_metric(labels, bounds, self.values[labels])
        return made


BUILD = Gauge("diwan_build_info", "1; the process and its version.", "process", "version")
UNREADABLE = Gauge("diwan_figures_unreadable", "1 where a part of the figures could not be read now.", "part")
SPANS_LOST = Counter("diwan_spans_lost_total", "Units of spans that could not be handed over.", "why")

HTTP_REQUESTS = Counter("diwan_http_requests_total", "Requests answered.", "method", "route", "status")
HTTP_SECONDS = Histogram("diwan_http_seconds", "Time to answer a request.", "route")
EVENTS_ACCEPTED = Counter("diwan_events_accepted_total", "Events answered with 202.", "tenant", "type")

ACTIVITIES = Counter("diwan_activities_total", "Activities ended, by how.", "activity", "outcome")
ACTIVITY_RETRIES = Counter("diwan_activity_retries_total", "Attempts after the first.", "activity")
ACTIVITY_FAILURES = Counter("diwan_activity_failures_total", "Attempts that failed, by error.", "activity", "code")
ACTIVITY_SECONDS = Histogram("diwan_activity_seconds", "Time of one attempt of an activity.", "activity")
QUEUE_WAITING = Gauge("diwan_queue_waiting", "Activities that wait in a task queue, about.", "queue")
QUEUE_OLDEST = Gauge("diwan_queue_oldest_seconds", "Age of the oldest activity in a task queue.", "queue")
QUEUE_POLLERS = Gauge("diwan_queue_pollers", "Processes that pull from a task queue.", "queue")

ENGINE_ROOM = Gauge("diwan_engine_room", "Calls that an engine takes at once.", "model")
ENGINE_OUT = Gauge("diwan_engine_out", "1 while an engine is asked nothing, by why.", "model", "why")
ENGINE_RUNNING = Gauge("diwan_engine_running", "Calls that run in an engine now.", "model")
ENGINE_CALLS = Counter("diwan_engine_calls_total", "Calls of an engine, by how they ended.", "model", "outcome")
ENGINE_SECONDS = Histogram("diwan_engine_seconds", "Time of a call of an engine.", "model")
ENGINE_TOKENS = Counter(
    "diwan_engine_tokens_total", "Tokens: prompt, cached (of the prompt), completion.", "model", "kind"
)

RINGS = Counter("diwan_rings_total", "Rings of cases' workflows, by how they ended.", "outcome")
DELIVERIES = Counter("diwan_deliveries_total", "Attempts to deliver to a webhook, by how they ended.", "outcome")
UPLOADS_REMOVED = Counter("diwan_uploads_removed_total", "Uploads removed that no event had named.", "tenant")
CASES_OPEN = Gauge("diwan_cases_open", "Cases that are not closed.", "tenant")
CASES_BLOCKED = Gauge("diwan_cases_blocked", "Cases whose step cannot be done.", "tenant")
CASES_STUCK = Gauge("diwan_cases_stuck", "Cases that nobody moves, by why (docs/operations.md).", "tenant", "why")
CLOCK_FROZEN = Gauge("diwan_clock_frozen", "1 while a ministry's legal dates stand still.", "tenant")
EVENTS_UNCONSUMED = Gauge("diwan_events_unconsumed", "Accepted events without effect yet.", "tenant")
EVENTS_OLDEST = Gauge("diwan_events_oldest_seconds", "Age of the oldest accepted event without effect.", "tenant")
TASKS_OPEN = Gauge("diwan_tasks_open", "Tasks that wait for a person.", "tenant", "kind")
TASKS_OLDEST = Gauge("diwan_tasks_oldest_seconds", "Age of the oldest task that waits.", "tenant", "kind")
OUTBOX_WAITING = Gauge("diwan_outbox_waiting", "Events that a webhook has not taken yet.", "tenant")
OUTBOX_OLDEST = Gauge("diwan_outbox_oldest_seconds", "Age of the oldest event that a webhook has not taken.", "tenant")
HISTORIES_OLDEST = Gauge(
    "diwan_histories_oldest_seconds",
    "For how long a history of a run that has ended waits to be kept, or a run to be looked at.",
    "tenant",
)

LEDGER_SIZE = Gauge("diwan_ledger_size", "Entries that have their place in the tree.", "shard")
LEDGER_SIGNED = Gauge("diwan_ledger_signed", "Entries of the tree as it was signed last.", "shard")
LEDGER_PLACED = Histogram("diwan_ledger_placed_seconds", "Time until an entry had its place: the oldest of a pass.")
LEDGER_MOVED = Counter("diwan_ledger_moved_total", "Entries placed anew, out of a log that was left unsigned.", "shard")
LEDGER_WITNESSED = Gauge(
    "diwan_ledger_witnessed", "Entries of the tree as a witness cosigned it last.", "shard", "witness"
)
LEDGER_REFUSED = Gauge("diwan_ledger_witness_refuses", "1 while a witness refuses, by why.", "shard", "witness", "why")


def rendered() -> bytes:
    """All figures as Prometheus text (version 0.0.4). Loads the library when first asked."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> list[Metric]:
            return [figure.family() for figure in ALL.values() if figure.values]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())  # type: ignore[arg-type]
    return generate_latest(registry)
