"""Traces by OpenTelemetry: off, and nothing imported for them, unless a standard OTEL_… variable names a collector.

The trace of an attempt has the attempt's id, and that of a batch the batch's: they are derived and stored nowhere, so
that any process can add a span. The first span of each has the last eight bytes of the id. Spans are made when they are
over, from times that are known then, so that nothing is kept open between the processes of a call.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from pendulum import DateTime
from structlog.contextvars import get_contextvars

from dialer.clock import chance, clock
from dialer.engine import journal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanContext

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# A process that ends waits for so long for the collector to take the last spans.
LAST_SECONDS = 5.0
_TRACE_PARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SPAN = 2**64 - 1

log = structlog.get_logger()


class Tracing:
    """Makes spans and hands them to a processor of the SDK.

    Args:
        processor: sends the spans.
        version: the version of Dialer.
        process: the kind of this process.
        ratio: which part of all traces is sent, from 0 to 1. All processes must have the same.
    """

    def __init__(self, processor: "SpanProcessor", version: str, process: str, ratio: float = 1.0) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "dialer"}
        self._resource = Resource.create(name | {"service.version": version, "dialer.process": process})
        self._scope = InstrumentationScope("dialer", version)
        self._processor, self._ratio = processor, ratio
        self._random = chance()
        # The step or request that runs on this thread: spans that it makes in other traces are linked to its own.
        self._current: ContextVar[SpanContext | None] = ContextVar("span", default=None)

    def span(
        self,
        trace: UUID,
        name: str,
        began_at: DateTime | None,
        ended_at: DateTime | None,
        attributes: Mapping[str, Any],
        *,
        is_first: bool = False,
        linked: Sequence[UUID] = (),
    ) -> None:
        """Send a span of the trace of an attempt or a batch.

        Args:
            trace: the id of the attempt or batch.
            name: what the span is.
            began_at: when it began; None: now.
            ended_at: when it ended; None: now.
            attributes: get the prefix `dialer.`; those that are None are left out.
            is_first: whether it is the first span of the trace, of which all others are part.
            linked: attempts or batches to the first spans of whose traces it is linked.
        """
        if not self._is_sampled(trace.int):
            return
        first = self._context(trace.int, trace.int & _SPAN)
        links = [self._context(other.int, other.int & _SPAN) for other in linked]
        links += [current for current in (self._current.get(),) if current]
        began_at, ended_at = began_at or clock(), ended_at or clock()
        if is_first:
            self._send(name, first, None, began_at, ended_at, attributes, links)
        else:
            context = self._context(trace.int, self._random.getrandbits(64) or 1)
            self._send(name, context, first, began_at, ended_at, attributes, links)

    @contextmanager
    def work(self, name: str, trace_parent: str = "") -> Iterator[dict[str, Any]]:
        """Send a span of a trace of its own, or of that of `trace_parent`, for the body of a `with`.

        Yields its attributes, which the body may add to.
        """
        parent = self._parent(trace_parent)
        trace = parent.trace_id if parent else self._random.getrandbits(128) or 1
        attributes: dict[str, Any] = {"request_id": get_contextvars().get("request_id")}
        is_sampled = bool(parent.trace_flags & 1) if parent else self._is_sampled(trace)
        context = self._context(trace, self._random.getrandbits(64) or 1)
        token, began_at = self._current.set(context if is_sampled else None), clock()
        try:
            yield attributes
        finally:
            self._current.reset(token)
            if is_sampled:
                self._send(name, context, parent, began_at, clock(), attributes, [])

    def close(self) -> None:
        """Send the last spans, but wait only shortly for a collector that does not answer."""
        last = Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(LAST_SECONDS)

    def _is_sampled(self, trace: int) -> bool:
        # By the last seven bytes, which are random also in the ids of attempts and batches.
        return (trace & (2**56 - 1)) < self._ratio * 2**56

    def _parent(self, trace_parent: str) -> "SpanContext | None":
        given = _TRACE_PARENT.fullmatch(trace_parent)
        if given is None:
            return None
        from opentelemetry.trace import SpanContext, TraceFlags

        trace, span, flags = (int(part, 16) for part in given.groups())
        context = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags))
        return context if context.is_valid else None

    @staticmethod
    def _context(trace: int, span: int) -> "SpanContext":
        from opentelemetry.trace import SpanContext, TraceFlags

        return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def _send(
        self,
        name: str,
        context: "SpanContext",
        parent: "SpanContext | None",
        began_at: DateTime,
        ended_at: DateTime,
        attributes: Mapping[str, Any],
        links: Sequence["SpanContext"],
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link

        self._processor.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                attributes={f"dialer.{key}": value for key, value in attributes.items() if value is not None},
                links=[Link(link) for link in links],
                start_time=_nanoseconds(began_at),
                end_time=_nanoseconds(max(began_at, ended_at)),
                instrumentation_scope=self._scope,
            )
        )


_tracing: Tracing | None = None


def start(process: str, version: str, environment: Mapping[str, str]) -> Callable[[], None]:
    """Send traces from now on, if the environment names a collector. Return what must be called at the end."""
    if not any(environment.get(name) for name in ENDPOINTS) or environment.get("OTEL_SDK_DISABLED") == "true":
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("traces are not sent: the extra otel is not installed", reason=str(error))
        return lambda: None
    tracing = Tracing(BatchSpanProcessor(OTLPSpanExporter()), version, process, _ratio(environment))
    use(tracing)
    return tracing.close


def use(tracing: Tracing | None) -> None:
    """Send the spans of this process to `tracing`; None: to nobody."""
    global _tracing
    _tracing = tracing
    journal.send_spans(None if tracing is None else tracing.span)


@contextmanager
def work(name: str, trace_parent: str = "") -> Iterator[dict[str, Any]]:
    """As `Tracing.work`; does nothing where no traces are sent."""
    if _tracing is None:
        yield {}
    else:
        with _tracing.work(name, trace_parent) as attributes:
            yield attributes


def _ratio(environment: Mapping[str, str]) -> float:
    match environment.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_"):
        case "always_off":
            return 0.0
        case "traceidratio":
            return float(environment.get("OTEL_TRACES_SAMPLER_ARG") or 1)
        case _:
            return 1.0


def _nanoseconds(at: DateTime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000
