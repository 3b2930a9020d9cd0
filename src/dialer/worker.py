"""The Celery app: beat ticks, workers run the steps. Tasks carry ids only and are at most five lines.

Losing a task loses nothing, since the next tick finds what was due: so tasks are acknowledged early, have no ETA, and
expire in the queue when the next beat has long brought another.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import structlog
from celery import Celery
from celery.beat import Scheduler
from celery.signals import setup_logging
from kombu.entity import Queue

from dialer import log, wiring
from dialer.domain.ids import BatchId
from dialer.engine import dispatch as dispatching
from dialer.engine import rescue as rescuing
from dialer.engine import retention as retaining
from dialer.engine import retry as retrying
from dialer.engine import settle as settling
from dialer.engine import tick as ticking
from dialer.engine.dispatch import DispatchReport
from dialer.engine.parts import QUEUES
from dialer.engine.settle import SettleReport
from dialer.settings import Settings
from dialer.store.measures import Measures

CHUNK = 50
QUEUE, BEAT_QUEUE = QUEUES
RESCUE_SECONDS = 5.0
RETENTION_SECONDS = 3600.0
# A settle that was asked for and got lost is asked for again after this.
ASKED_SECONDS = 2

settings = Settings.load()
rng = wiring.chance()
# Nothing is connected until a task needs it, so beat and listener may import this too.
parts = wiring.parts_of(settings)
measures = Measures(settings.redis, wiring.seconds)
logger = structlog.get_logger()


class InMemory(Scheduler):  # type: ignore[misc]  # Celery brings no types
    """The schedule of beat. A file would only remember what the next second makes up for, so nothing is kept."""

    def close(self) -> None:
        """Leave the connection open: it ends with the process.

        TERM calls this in the middle of whatever beat does. A connection that was closed under a tick would raise its
        error there, in place of the exit that TERM asks for, and beat would go on.
        """


def _every(seconds: float, task: str) -> dict[str, Any]:
    return {"task": f"dialer.{task}", "schedule": seconds, "options": {"expires": 2 * seconds, "queue": BEAT_QUEUE}}


app = Celery("dialer", broker=settings.broker)
app.conf.update(
    beat_schedule={
        "tick": _every(settings.tick_seconds, "tick"),
        "retry": _every(settings.tick_seconds, "retry"),
        "rescue": _every(RESCUE_SECONDS, "rescue"),
        "retention": _every(RETENTION_SECONDS, "retention"),
    },
    broker_connection_retry_on_startup=True,
    # A restored task is one that the tick has long made up for; the visibility time-out outlasts any task by far.
    broker_transport_options={"visibility_timeout": 3600, "socket_timeout": 5, "socket_connect_timeout": 5},
    enable_utc=True,
    # The anonymous exchange routes by the queue's name alone: bindings kept in Redis would be lost with its memory.
    # Workers take from both in turn, so that what beat sends does not wait behind a flood of call reports.
    task_queues=[Queue(name, exchange="", routing_key=name) for name in (QUEUE, BEAT_QUEUE)],
    task_default_queue=QUEUE,
    task_default_exchange="",
    task_default_routing_key=QUEUE,
    task_ignore_result=True,
    timezone="UTC",
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
)


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    log.configure(settings.log_format, settings.log_level)


def step(work: Callable[..., None]) -> Any:
    """Make a task of a step, and measure how long it takes."""

    @app.task(name=f"dialer.{work.__name__}")
    @wraps(work)
    def task(*ids: Any) -> None:
        with measures.timed("dialer_step_seconds", {"step": work.__name__}):
            work(*ids)

    return task


@step
def tick() -> None:
    report = ticking.tick(parts, wiring.clock())
    dispatch_all(report.due)
    if report.has_reports:
        ask_settle()


@step
def dispatch(batch_ids: Sequence[BatchId]) -> None:
    report = dispatching.dispatch(parts, batch_ids, wiring.clock(), rng)
    count_placements(report)
    dispatch_all(report.again)
    if report.leases_lost:
        rescue.delay()


@step
def settle() -> None:
    parts.leases.begun("settle")
    report = settling.settle(parts, wiring.clock())
    if report.is_full:
        ask_settle()
    refill(report)


@step
def retry() -> None:
    dispatch_all(retrying.retry(parts, wiring.clock()).batches)


@step
def rescue() -> None:
    dispatch_all(rescuing.rescue(parts, wiring.clock(), rng).freed)


@step
def retention() -> None:
    retaining.retention(parts, wiring.clock(), settings.retention_days)


def refill(report: SettleReport) -> None:
    """Dispatch batches with freed slots in this task and not in another, so that they are refilled at once."""
    dispatch(report.freed[:CHUNK])
    dispatch_all(report.freed[CHUNK:])
    if report.freed and report.oldest_at is not None:
        measures.duration("dialer_refill_seconds", {}, (wiring.clock() - report.oldest_at).total_seconds())
    for outcome, count in report.outcomes.items():
        measures.count("dialer_attempts", {"outcome": outcome}, count)


def count_placements(report: DispatchReport) -> None:
    """Add what the networks said to the measures."""
    for said, count in (("placed", report.placed), ("refused", report.refused), ("unclear", report.unclear)):
        measures.count("dialer_placements", {"said": said}, count)
    measures.count("dialer_attempts", {"outcome": "refused"}, report.refused)


def ask_settle() -> None:
    """Put a settle into the queue unless one is there: it will see all that is in the inbox by then."""
    if parts.leases.ask_once("settle", ASKED_SECONDS):
        settle.delay()


def dispatch_all(batch_ids: Sequence[BatchId]) -> None:
    """Hand batches to dispatch, in chunks that different workers may take."""
    for first in range(0, len(batch_ids), CHUNK):
        dispatch.delay(list(batch_ids[first : first + CHUNK]))
