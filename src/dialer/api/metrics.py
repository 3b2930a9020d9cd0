"""`/metrics`: metrics of the whole installation in the text format of Prometheus, from any API process.

They cover all workspaces, so no workspace's key grants access, but the token in DIALER_METRICS_TOKEN.

Gauges are read from Postgres and Redis on request, at most once a second; counters and durations are those that all
processes have added up in Redis (`store/process_metrics.py`).
"""

import hmac
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import Any

from fastapi import APIRouter, Request, Response
from pendulum import DateTime
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from pydantic import SecretStr

from dialer import wiring
from dialer.api.errors import documented
from dialer.api.openapi import METRICS_TOKEN
from dialer.api.request_context import current_request
from dialer.engine.context import EngineContext
from dialer.errors import DialerError, NotAuthenticated
from dialer.heartbeat import FAILED_SECONDS, KINDS
from dialer.settings import QUEUES, Settings
from dialer.store import metrics as ledger_metrics
from dialer.store.process_metrics import ProcessMetrics, Samples, buckets_of

router = APIRouter(tags=["Probes"])

FRESH_SECONDS = 1
HISTOGRAMS = {
    "dialer_step_seconds": "How long a step of the engine takes; settle includes the dispatch that refills its slots.",
    "dialer_refill_seconds": "From receiving a call event to the network's answer to the call that refills its slot.",
    "dialer_talk_seconds": "How long the calls lasted that were answered.",
    "dialer_http_request_seconds": "How long a request takes until its response is complete.",
}
COUNTERS = {
    "dialer_attempts": "Attempts that are over, by outcome; refused: no call was made.",
    "dialer_refusals": "Refused placements, by cause.",
    "dialer_steps_refused": "Steps that did nothing, by reason; clock: the clock of their machine is wrong.",
    "dialer_webhook_messages": "Webhook messages by result: delivered, failed (once each try), dead.",
    "dialer_placements": "Placements by the network's answer: placed, refused, unclear.",
}
LABELLED_GAUGES = {
    "contacts": ("dialer_contacts", "Contacts of live batches, by status.", "status"),
    "calls": ("dialer_calls_in_progress", "Attempts that are not over, by state.", "state"),
    "batches": ("dialer_batches", "Batches, by status.", "status"),
    "most_starts": (
        "dialer_trunk_most_starts_per_second",
        "The most calls placed on a trunk in any second of the last minute.",
        "trunk_id",
    ),
    "trunk_calls": ("dialer_trunk_calls_in_progress", "Attempts that are not over, by trunk.", "trunk_id"),
    "set_aside": ("dialer_set_aside", "Entries in quarantine, by kind.", "kind"),
}
GAUGES = {
    "slots_used": ("dialer_slots_used", "Calls in progress of active batches."),
    "slots_limit": ("dialer_slots_limit", "The sum of max_concurrent_calls of active batches."),
    "retention_overdue": ("dialer_retention_overdue_seconds", "How long retention is late."),
    "inbox_depth": ("dialer_inbox_depth", "Call events that wait for settle."),
    "inbox_age": ("dialer_inbox_oldest_seconds", "How long the oldest call event has waited for settle."),
    "webhooks_pending": ("dialer_webhooks_pending", "Webhook messages that are not delivered yet."),
    "webhooks_age": ("dialer_webhooks_oldest_seconds", "How long the oldest of them has waited."),
    "webhooks_failing": ("dialer_webhook_endpoints_failing", "Active webhook endpoints whose last tries failed."),
    "trunks_failing": ("dialer_trunks_failing", "Trunks whose circuit breaker is open."),
    "batches_finishing": ("dialer_batches_finishing", "Batches whose contacts are being ended or removed."),
    "numbers_to_skip": ("dialer_suppressed_numbers_left", "Suppressed numbers whose contacts are being skipped."),
    "idle": (
        "dialer_idle_slots_seconds",
        "How long a batch has had a due contact and a free slot.",
    ),
    "connections": ("dialer_postgres_connections", "Connections to Postgres of all processes."),
    "connections_limit": ("dialer_postgres_connections_limit", "max_connections of Postgres."),
    "late": ("dialer_tick_lag_seconds", "How long the batch that is due longest has waited for a tick."),
}


class MetricsPage(Collector):
    """Collects all metrics. What cannot be read is left out, and `dialer_up` is 0 for that server."""

    def __init__(self, context: EngineContext, settings: Settings, process_metrics: ProcessMetrics) -> None:
        self._context, self._settings, self._process_metrics = context, settings, process_metrics
        self._lock = Lock()
        self._text = b""
        self._read_at: DateTime | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self.open_streams = 0

    def text(self, now: DateTime) -> bytes:
        """Return the page, collected anew if it is older than a second."""
        with self._lock:
            if self._read_at is None or (now - self._read_at).total_seconds() >= FRESH_SECONDS:
                self._read_at = now
                self._text = generate_latest(self._registry)
            return self._text

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        assert self._read_at is not None
        up = GaugeMetricFamily("dialer_up", "Whether a server answers.", labels=["server"])
        gauges = self._read_gauges(self._read_at)
        up.add_metric(["postgres"], float(gauges is not None))
        up.add_metric(["redis"], float(self._redis_answers()))
        yield up
        yield from _gauge_metrics(gauges or {})
        yield from _process_metrics(self._process_metrics.read())
        depths = GaugeMetricFamily("dialer_queue_depth", "Tasks that wait for a worker.", labels=["queue"])
        for queue, depth in ledger_metrics.queue_depths(self._settings.broker, QUEUES).items():
            depths.add_metric([queue], depth)
        yield depths
        yield from self._own_gauges()

    def _own_gauges(self) -> Iterator[Metric]:
        """Gauges of the process that was scraped, and of those that were seen within the last minute."""
        build = GaugeMetricFamily("dialer_build_info", "1: the version of this process.", labels=["version"])
        build.add_metric([wiring.version()], 1)
        yield build
        processes = GaugeMetricFamily("dialer_processes", "Processes that run, by kind.", labels=["kind"])
        ages = self._process_metrics.processes()
        running = Counter(name.partition(" ")[0] for name, age in ages.items() if age <= FAILED_SECONDS)
        for kind in KINDS:
            processes.add_metric([kind], running[kind])
        yield processes
        pool = self._context.db.pool_use()
        yield GaugeMetricFamily("dialer_database_pool_used", "Connections in use of this process.", value=pool.used)
        yield GaugeMetricFamily("dialer_database_pool_limit", "How many it may use at most.", value=pool.limit)
        yield GaugeMetricFamily("dialer_event_streams", "Open event streams of this process.", value=self.open_streams)

    def _read_gauges(self, now: DateTime) -> dict[str, Any] | None:
        try:
            with self._context.db.begin() as connection:
                return ledger_metrics.gauges(connection, now, self._settings.retention_days)
        except DialerError:
            return None

    def _redis_answers(self) -> bool:
        try:
            self._context.leases.ping()
        except DialerError:
            return False
        return True


def _gauge_metrics(gauges: Mapping[str, Any]) -> Iterator[Metric]:
    for key, (name, meaning, label) in LABELLED_GAUGES.items():
        gauge = GaugeMetricFamily(name, meaning, labels=[label])
        for value, count in (gauges.get(key) or {}).items():
            gauge.add_metric([value], count)
        yield gauge
    for key, (name, meaning) in GAUGES.items():
        if key in gauges:
            yield GaugeMetricFamily(name, meaning, value=max(0.0, float(gauges[key] or 0)))


def _process_metrics(samples: Samples) -> Iterator[Metric]:
    series: dict[str, dict[tuple[tuple[str, str], ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for (name, labels, bucket), value in samples.items():
        series[name][labels][bucket] = value
    for name, by_labels in series.items():
        keys = [key for key, _ in next(iter(by_labels))]
        if name in COUNTERS:
            counter = CounterMetricFamily(name, COUNTERS[name], labels=keys)
            for labels, values in by_labels.items():
                counter.add_metric([value for _, value in labels], values.get("", 0.0))
            yield counter
        elif name in HISTOGRAMS:
            histogram = HistogramMetricFamily(name, HISTOGRAMS[name], labels=keys)
            for labels, values in by_labels.items():
                histogram.add_metric([value for _, value in labels], _cumulative(name, values), values.get("sum", 0.0))
            yield histogram


def _cumulative(name: str, values: Mapping[str, float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for index, bound in enumerate((*map(str, buckets_of(name)), "+Inf")):
        total += values.get(str(index), 0.0)
        buckets.append((bound, total))
    return buckets


@router.get(
    "/metrics",
    response_class=Response,
    responses=documented(401) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    openapi_extra={"security": [{METRICS_TOKEN: []}]},
)
def metrics(request: Request) -> Response:
    """Return metrics of the whole installation for Prometheus. The key is the token in DIALER_METRICS_TOKEN."""
    _check_token(request)
    page: MetricsPage = request.app.state.metrics_page
    page.open_streams = request.app.state.batch_streams.open_streams
    return Response(page.text(current_request().now), media_type=CONTENT_TYPE_LATEST)


def _check_token(request: Request) -> None:
    """Raise NotAuthenticated unless the request has the token. Where no token is set, every request is refused."""
    token: SecretStr | None = request.app.state.settings.metrics_token
    expected = f"Bearer {token.get_secret_value()}" if token else ""
    authorization = request.headers.get("authorization", "")
    # One message for all cases: it must not tell whether a token is set.
    if not expected or not hmac.compare_digest(authorization.encode(), expected.encode()):
        raise NotAuthenticated(
            "Metrics need the token in DIALER_METRICS_TOKEN; send it as Authorization: Bearer <token>"
        )
