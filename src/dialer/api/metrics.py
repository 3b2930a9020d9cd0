"""`/metrics`: the whole installation in the text format of Prometheus, whichever process is asked.

It tells of all workspaces, so no key of one opens it but a token of the machine's owner (DIALER_METRICS_TOKEN).

Facts are read from Postgres and Redis when asked, at most once a second; durations are what all processes measured.
"""

import hmac
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import Any

from fastapi import APIRouter, Request, Response
from pendulum import DateTime
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from pydantic import SecretStr

from dialer.api.errors import documented
from dialer.api.request_context import here
from dialer.engine.context import QUEUES, EngineContext
from dialer.errors import DialerError, NotAuthenticated
from dialer.settings import Settings
from dialer.store import metrics as ledger_metrics
from dialer.store.process_metrics import BUCKETS, Found, Measures

router = APIRouter(tags=["Probes"])

FRESH_SECONDS = 1
HISTOGRAMS = {
    "dialer_step_seconds": "How long a step of the engine takes; settle with the dispatch that refills its slots.",
    "dialer_refill_seconds": "From the receipt of a report to the network's answer to the call that refilled its slot.",
    "dialer_http_request_seconds": "How long a request takes until its answer is complete.",
}
COUNTERS = {
    "dialer_attempts": "Attempts that are over, by outcome; refused: no call was made.",
    "dialer_steps_refused": "Steps that did nothing, by reason; clock: that of their machine is wrong.",
    "dialer_placements": "Calls that were asked of the networks, by what they said: placed, refused, unclear.",
}
GAUGES = {
    "contacts": ("dialer_contacts", "Contacts of live batches, by status.", "status"),
    "calls": ("dialer_calls_in_progress", "Attempts that are not over, by state.", "state"),
    "batches": ("dialer_batches", "Batches, by status.", "status"),
    "most_starts": (
        "dialer_trunk_most_starts_per_second",
        "The most calls that left on a trunk in any second of the last minute.",
        "trunk_id",
    ),
    "set_aside": ("dialer_set_aside", "What cannot be done, whatever is tried, and is passed over, by kind.", "kind"),
}
NUMBERS = {
    "slots_used": ("dialer_slots_used", "Calls in progress of active batches."),
    "slots_limit": ("dialer_slots_limit", "The sum of max_concurrent_calls of active batches."),
    "inbox_depth": ("dialer_inbox_depth", "Call reports that wait for settle."),
    "inbox_age": ("dialer_inbox_oldest_seconds", "How long the oldest of them has waited."),
    "trunks_failing": ("dialer_trunks_failing", "Trunks whose circuit breaker is open."),
    "late": ("dialer_tick_lag_seconds", "How long the batch that has been due longest has waited for a tick."),
}


class Figures(Collector):
    """Reads what there is to tell; what cannot be read is left out, and `dialer_up` says so."""

    def __init__(self, context: EngineContext, settings: Settings, measures: Measures) -> None:
        self._context, self._settings, self._measures = context, settings, measures
        self._lock = Lock()
        self._text = b""
        self._read_at: DateTime | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self.open_streams = 0

    def text(self, now: DateTime) -> bytes:
        """Write all figures, read again if they are older than a second."""
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
        facts = self._facts(self._read_at)
        up.add_metric(["postgres"], float(facts is not None))
        up.add_metric(["redis"], float(self._redis_answers()))
        yield up
        yield from _gauges(facts or {})
        yield from _measured(self._measures.read())
        depths = GaugeMetricFamily("dialer_queue_depth", "Tasks that wait for a worker.", labels=["queue"])
        for queue, depth in ledger_metrics.queue_depths(self._settings.broker, QUEUES).items():
            depths.add_metric([queue], depth)
        yield depths
        yield GaugeMetricFamily("dialer_event_streams", "Open event streams of this process.", value=self.open_streams)

    def _facts(self, now: DateTime) -> dict[str, Any] | None:
        try:
            with self._context.db.begin() as connection:
                return ledger_metrics.facts(connection, now)
        except DialerError:
            return None

    def _redis_answers(self) -> bool:
        try:
            self._context.leases.ping()
        except DialerError:
            return False
        return True


def _gauges(facts: Mapping[str, Any]) -> Iterator[Metric]:
    for key, (name, meaning, label) in GAUGES.items():
        gauge = GaugeMetricFamily(name, meaning, labels=[label])
        for value, count in (facts.get(key) or {}).items():
            gauge.add_metric([value], count)
        yield gauge
    for key, (name, meaning) in NUMBERS.items():
        if key in facts:
            yield GaugeMetricFamily(name, meaning, value=max(0.0, float(facts[key] or 0)))


def _measured(found: Found) -> Iterator[Metric]:
    series: dict[str, dict[tuple[tuple[str, str], ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for (name, labels, bucket), value in found.items():
        series[name][labels][bucket] = value
    for name, of_labels in series.items():
        keys = [key for key, _ in next(iter(of_labels))]
        if name in COUNTERS:
            counter = CounterMetricFamily(name, COUNTERS[name], labels=keys)
            for labels, values in of_labels.items():
                counter.add_metric([value for _, value in labels], values.get("", 0.0))
            yield counter
        elif name in HISTOGRAMS:
            histogram = HistogramMetricFamily(name, HISTOGRAMS[name], labels=keys)
            for labels, values in of_labels.items():
                histogram.add_metric([value for _, value in labels], _cumulated(values), values.get("sum", 0.0))
            yield histogram


def _cumulated(values: Mapping[str, float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for index, bound in enumerate((*map(str, BUCKETS), "+Inf")):
        total += values.get(str(index), 0.0)
        buckets.append((bound, total))
    return buckets


@router.get("/metrics", response_class=Response, responses=documented(401) | {200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Tell the figures of the whole installation, for Prometheus; with the token of DIALER_METRICS_TOKEN as a key."""
    _check_token(request)
    figures: Figures = request.app.state.figures
    figures.open_streams = request.app.state.watching.open_streams
    return Response(figures.text(here().now), media_type=CONTENT_TYPE_LATEST)


def _check_token(request: Request) -> None:
    """Raise NotAuthenticated, in the same words for all, unless the request bears the token; without one, for all."""
    token: SecretStr | None = request.app.state.settings.metrics_token
    wanted = f"Bearer {token.get_secret_value()}" if token else ""
    given = request.headers.get("authorization", "")
    if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
        raise NotAuthenticated("The figures are for the owner of this installation; send DIALER_METRICS_TOKEN")
