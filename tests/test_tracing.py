"""The trace of an attempt has the attempt's id, and is made by all processes; without a collector there is none."""

import os
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from random import Random
from threading import Thread

import pendulum
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.contextvars import bound_contextvars

from dialer import tracing
from dialer.domain.ids import AttemptId, BatchId, uuid7
from dialer.engine import journal
from dialer.tracing import Tracing
from support.deadline import DEADLINE_SECONDS
from support.world import World

AT = pendulum.datetime(2026, 3, 2, 9)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    yield InMemorySpanExporter()
    tracing.use(None)


def traced(exporter: InMemorySpanExporter, ratio: float = 1.0) -> Tracing:
    tracer = Tracing(SimpleSpanProcessor(exporter), "1.2", "worker", ratio)
    tracing.use(tracer)
    return tracer


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def first_of(trace: AttemptId | BatchId) -> tuple[int, int]:
    return trace.int, trace.int % 2**64


def test_the_life_of_an_attempt_is_one_trace_with_its_id(
    make_world: Callable[..., World], exporter: InMemorySpanExporter
) -> None:
    traced(exporter)
    world = make_world(outcomes={"answered": 1})
    batch_id = world.batch(1)
    with tracing.work("tick"):
        world.run(lambda: world.is_over(batch_id))
    attempt_id = world.value("SELECT id FROM attempts")
    spans = {span.name: span for span in exporter.get_finished_spans() if ids(span)[0] == attempt_id.int}
    assert spans.keys() == {"claim", "permit", "place", "settle", "attempt"}
    first = spans["attempt"]
    assert (ids(first), first.parent) == (first_of(attempt_id), None)
    assert {span.parent.span_id for span in spans.values() if span.parent} == {ids(first)[1]}
    assert first.attributes is not None
    assert first.attributes["dialer.outcome"] == "answered"
    (step,) = (span for span in exporter.get_finished_spans() if span.name == "tick")
    links = {(link.context.trace_id, link.context.span_id) for link in first.links}
    assert links == {first_of(batch_id), ids(step)}
    of_batch = [span.name for span in exporter.get_finished_spans() if ids(span)[0] == batch_id.int]
    assert of_batch == ["batch draft", "batch active", "batch completed"]


def test_the_lines_of_a_step_and_its_span_have_the_id_of_their_request(exporter: InMemorySpanExporter) -> None:
    traced(exporter)
    with bound_contextvars(request_id="order-66"), tracing.work("settle"):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.attributes == {"dialer.request_id": "order-66"}


def test_a_request_continues_the_trace_of_its_client(exporter: InMemorySpanExporter) -> None:
    traced(exporter)
    sampled, not_sampled, not_valid = f"00-{1:032x}-{2:016x}-01", f"00-{1:032x}-{2:016x}-00", f"00-{0:032x}-{2:016x}-01"
    for trace_parent in (sampled, not_sampled, not_valid, "00-0-0-01"):
        with tracing.work("request", trace_parent):
            pass
    first, *others = exporter.get_finished_spans()
    assert first.parent is not None
    assert (ids(first)[0], first.parent.span_id) == (1, 2)
    assert [other.parent for other in others] == [None, None]


def test_a_part_of_all_attempts_is_traced_and_the_same_by_every_process(exporter: InMemorySpanExporter) -> None:
    rng = Random(1)
    attempts = [uuid7(AT, rng) for _ in range(1000)]
    for _ in range(2):
        tracer = traced(exporter, ratio=0.25)
        for attempt_id in attempts:
            tracer.span(attempt_id, "claim", AT, AT, {})
    sent = [ids(span)[0] for span in exporter.get_finished_spans()]
    assert sent[: len(sent) // 2] == sent[len(sent) // 2 :]
    assert 200 < len(sent) / 2 < 300


def test_spans_are_sent_to_the_collector_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = Queue[tuple[str, bytes]]()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    attempt_id = AttemptId(uuid7(AT, Random(1)))
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        end = tracing.start("worker", "1.2", os.environ)
        journal.asked("permit", {attempt_id: "permitted"}, AT, AT)
        end()
        tracing.use(None)
        path, body = bodies.get(timeout=DEADLINE_SECONDS)
        server.shutdown()
        thread.join()
    assert path == "/v1/traces"
    assert attempt_id.bytes in body
    assert b"dialer.answer" in body


@pytest.mark.parametrize(
    "environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}]
)
def test_without_a_collector_nothing_is_traced(environment: Mapping[str, str]) -> None:
    tracing.start("worker", "1.2", environment)
    with tracing.work("tick") as attributes:
        assert attributes == {}
