"""The Celery app: beat ticks, workers run the steps. Tasks carry ids only and are at most five lines.

Losing a task loses nothing, since the next tick finds what was due: so tasks are acknowledged early and have no ETA.
They do not expire either, because two machines' clocks would decide about that. A step that beat sends runs once in
half its interval, however many of its tasks are queued.

Steps that may take long have a queue of their own, and in each worker one thread each: none of them takes a thread from
the steps of calling (P6).

Every step uses the ledger's clock. A worker whose own clock is far from it does nothing.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from threading import Event
from typing import Any

import structlog
from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init, worker_shutdown
from celery.worker import consumer, request
from kombu.exceptions import OperationalError
from pendulum import DateTime

from dialer import broker, log, tracing, wiring
from dialer.beat_scheduler import BeatScheduler, every
from dialer.coalesce import Coalesced
from dialer.domain.ids import BatchId, EndpointId
from dialer.domain.outcomes import KNOWN_CAUSES
from dialer.domain.timeouts import MAX_SKEW_SECONDS
from dialer.engine.bulk_change import bulk_change
from dialer.engine.departure import Departure
from dialer.engine.dispatch import dispatch
from dialer.engine.place import place
from dialer.engine.rescue import rescue
from dialer.engine.retention import retention
from dialer.engine.retry import retry
from dialer.engine.settle import SettleReport, settle
from dialer.engine.tick import TickReport, tick
from dialer.engine.webhooks import WebhookReport, due_webhooks, send_webhooks
from dialer.errors import Contended, DialerError, Unavailable
from dialer.heartbeat import EVERY_SECONDS
from dialer.scheduler import Scheduler
from dialer.settings import QUEUES, Settings
from dialer.store import numbers
from dialer.store.process_metrics import ProcessMetrics

CHUNK = 50
_, BEAT_QUEUE, BULK_QUEUE = QUEUES
# The steps that may take long.
BULK_STEPS = ("bulk_change", "retention")
RESCUE_SECONDS = 5.0
RETENTION_SECONDS = 3600.0
# After so many pages a settle task asks for another one and ends, so that a worker that is asked to stop does.
MOST_PAGES = 20
# A settle or bulk change task that was queued and got lost is queued again after this.
ASKED_SECONDS = 2
# Departures in progress at once, in all and of one trunk: a thread waits for its network's answers, which may take
# seconds.
DEPARTURE_THREADS, DEPARTURES_OF_TRUNK = 96, 32
# Webhook endpoints that are worked on at once: a thread waits for an endpoint's answers, which may take 20 seconds.
WEBHOOK_THREADS = 16
# When a departure is tried again where the ledger does not answer, or the clock of this machine is wrong.
AGAIN_SECONDS = 1.0

# How long a worker waits before it connects again to a broker that has refused what it asked.
REFUSED_SECONDS = 1.0

# Timeout of the first connections to the networks, which are made before the first task is taken.
WARM_UP_SECONDS = 5.0

settings = Settings.load()
rng = wiring.chance()
# Nothing is connected until a task needs it, so beat and listener may import this too.
context = wiring.context_of(settings)
process_name = wiring.process_name()
measures = ProcessMetrics(settings.redis, wiring.seconds)
worker_heartbeat = wiring.heartbeat_of(settings, "worker", settings.worker_threads)
beat_heartbeat = wiring.heartbeat_of(settings, "beat")
scheduler = Scheduler(DEPARTURE_THREADS, wiring.seconds, DEPARTURES_OF_TRUNK)
bulk_scheduler = Scheduler(len(BULK_STEPS), wiring.seconds)
# The steps that wait for a thread of `bulk_scheduler`.
bulk_waiting: set[str] = set()
stopping = Event()
# Threads of their own: an endpoint that does not answer takes none from the steps of calling.
webhook_scheduler = Scheduler(WEBHOOK_THREADS, wiring.seconds)
webhook_client = wiring.webhook_client_of(settings)
# The endpoints that this process works on, or has queued.
endpoints_in_hand: set[EndpointId] = set()
logger = structlog.get_logger()
# Errors that pass by themselves. The next tick finds what was due, so they need no traceback each.
PASSING = (Unavailable, Contended, OperationalError)
outage = log.Outage("steps are put off", wiring.seconds)


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery brings no types
    """Consumes messages, and goes on after one that cannot be read: Celery's own consumer ends its process then."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.loop: Callable[..., None] = partial(self._survive, self.loop)

    def stop(self) -> None:
        """Take no more tasks, and give back those that have not begun: not only when the running ones have ended.

        A request for tasks stays open for a second: what it still brings is given back too. Otherwise a settle task
        would wait here for the end of the longest task, and slots would be idle (P6).
        """
        super().stop()
        self.shutdown()

    def on_connection_error_before_connected(self, error: Exception) -> None:
        """Wait before the next connection: this one was made and refused, as by a Redis that takes no writes."""
        super().on_connection_error_before_connected(error)
        stopping.wait(REFUSED_SECONDS)

    def on_connection_error_after_connected(self, error: Exception) -> None:
        super().on_connection_error_after_connected(error)
        if isinstance(error, self.channel_errors):
            stopping.wait(REFUSED_SECONDS)

    def create_task_handler(self, *arguments: Any) -> Callable[[Any], None]:
        """Reject a message that is no task; otherwise it would be delivered again, to the next worker."""
        handle = super().create_task_handler(*arguments)

        def take(message: Any) -> None:
            try:
                handle(message)
            except Exception as error:
                # Connection errors too: kombu counts KeyError among them. A real one is raised again in the loop.
                logger.warning("message rejected: it is no task", reason=repr(error)[:200])
                message.reject_log_error(consumer.consumer.logger, self.connection_errors)

        return take

    def _survive(self, loop: Callable[..., None], *arguments: Any) -> None:
        """Connect again after a message that cannot be decoded. It was taken from Redis already, so it is lost."""
        worker_heartbeat.touch()
        # Registered for each connection: Celery clears the timers of one that is lost.
        self.timer.call_repeatedly(EVERY_SECONDS, worker_heartbeat.touch)
        try:
            loop(*arguments)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:
            logger.warning("message discarded: it cannot be read", reason=repr(error)[:200])
            raise ConnectionError("a message could not be read") from None


class InMemory(BeatScheduler):
    """The scheduler of beat, with the heartbeat of this process."""

    heartbeat, outage = beat_heartbeat, outage


def _every(seconds: float, task: str) -> dict[str, Any]:
    return every(seconds) | {
        "task": f"dialer.{task}",
        "options": {"queue": BULK_QUEUE if task in BULK_STEPS else BEAT_QUEUE},
        "kwargs": {"by_beat": True},
    }


# The interval of each step that beat sends.
INTERVALS = {
    "tick": settings.tick_seconds,
    "retry": settings.tick_seconds,
    "rescue": RESCUE_SECONDS,
    "webhooks": settings.tick_seconds,
    "retention": RETENTION_SECONDS,
}

app = Celery("dialer")
app.conf.update(
    **broker.connection_of(settings.broker),
    **broker.OPTIONS,
    beat_schedule={name: _every(seconds, name) for name, seconds in INTERVALS.items()},
    task_routes={f"dialer.{step}": {"queue": BULK_QUEUE} for step in BULK_STEPS},
    worker_consumer="dialer.worker:Consumer",
)


@worker_init.connect
def warm_up(**_: object) -> None:
    """Connect to the networks before the first task is taken, so that the first calls leave as fast as all others."""
    with context.db.begin() as connection:
        trunks = numbers.reporting_trunks(connection)
    context.providers.warm_up(trunks, WARM_UP_SECONDS)
    worker_heartbeat.check_servers(partial(check_servers, "worker"))


@beat_init.connect
def watch_servers(**_: object) -> None:
    """Check from now on whether beat is ready."""
    beat_heartbeat.check_servers(partial(check_servers, "beat"))


def check_servers(kind: str) -> None:
    """Record in Redis that this process runs; raise Unavailable unless Postgres and Redis answer it."""
    measures.note_process(f"{kind} {process_name}")
    wiring.check_servers(context)


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    log.configure(settings.log_format, settings.log_level)
    logging.getLogger(consumer.consumer.__name__).addFilter(_is_no_retry)
    logging.getLogger(request.__name__).addFilter(_is_no_lost_acknowledgement)


def _is_no_retry(record: logging.LogRecord) -> bool:
    """Log only one of the connection attempts to the broker, which Celery makes every few seconds in place of its loop.

    A worker that makes them is alive.
    """
    lost = record.args[:1] == (consumer.consumer.CONNECTION_RETRY,) if isinstance(record.args, tuple) else False
    if record.msg != consumer.consumer.CONNECTION_ERROR and not lost:
        return True
    worker_heartbeat.touch()
    outage.note(ConnectionError(record.getMessage().partition("\n")[0]))
    return False


def _is_no_lost_acknowledgement(record: logging.LogRecord) -> bool:
    """Note that the broker could not be told of a task that was taken, in place of a traceback.

    It comes again long after the tick has found what it was about.
    """
    if not str(record.msg).startswith("Couldn't ack"):
        return True
    outage.note(ConnectionError(record.getMessage()))
    return False


@worker_shutdown.connect
def _finish_departures(**_: Any) -> None:
    """Let reserved calls leave, or give them back, before the process ends."""
    stopping.set()
    scheduler.close()
    bulk_scheduler.close()
    # Messages that are on their way are sent again by another worker.
    webhook_client.close()
    webhook_scheduler.close()


def step(work: Callable[..., None]) -> Any:
    """Make `NAME_task` the Celery task dialer.NAME: give it the ledger's time, and measure how long it takes."""
    name = work.__name__.removesuffix("_task")
    interval = INTERVALS.get(name, 0.0)

    def run(*ids: Any, by_beat: bool = False) -> None:
        bulk_waiting.discard(name)
        try:
            now = ledger_now()
            if now is None or (by_beat and not context.leases.is_first(name, interval / 2)):
                return
            with worker_heartbeat.step(), tracing.work(name), measures.timed("dialer_step_seconds", {"step": name}):
                work(now, *ids)
            logger.debug("step done", step=name)
        except PASSING as error:
            outage.note(error)

    @app.task(name=f"dialer.{name}")
    @wraps(work)
    def task(*ids: Any, by_beat: bool = False) -> None:
        with broker.request_of(app.current_task):
            if name not in BULK_STEPS:
                run(*ids, by_beat=by_beat)
            elif name not in bulk_waiting:
                bulk_waiting.add(name)
                bulk_scheduler.after(0, partial(run, by_beat=by_beat))

    return task


def ledger_now() -> DateTime | None:
    """Read the ledger's clock; None: this machine's clock is too far from it to do anything, which is logged."""
    now = context.db.now()
    skew_seconds = (wiring.clock() - now).total_seconds()
    if abs(skew_seconds) <= MAX_SKEW_SECONDS:
        return now
    logger.error("nothing is done: the clock of this machine is wrong", skew_seconds=round(skew_seconds, 1))
    measures.count("dialer_steps_refused", {"reason": "clock"})
    context.leases.note_skew(process_name, skew_seconds)
    return None


@step
def tick_task(now: DateTime) -> None:
    report = tick(context, now)
    dispatch_all(report.due)
    ask_for_the_rest(report)


@step
def dispatch_task(now: DateTime, batch_ids: Sequence[BatchId]) -> None:
    dispatch_now(now, batch_ids)


@step
def settle_task(_: DateTime) -> None:
    if settling.run():
        settle_task.delay()


@step
def bulk_change_task(now: DateTime) -> None:
    context.leases.begun("bulk_change")
    # One page a task: between two of them, the worker takes whatever else is in its queue (P6).
    if bulk_change(context, now).goes_on:
        ask_bulk_change()


@step
def retry_task(now: DateTime) -> None:
    context.leases.begun("retry")
    dispatch_all(retry(context, now).batches)


@step
def rescue_task(now: DateTime) -> None:
    report = rescue(context, now, rng)
    dispatch_all(report.freed)
    count_outcomes(report.outcomes)


@step
def webhooks_task(now: DateTime) -> None:
    due = due_webhooks(context, now)
    measures.count("dialer_webhook_messages", {"result": "dead"}, due.given_up)
    for endpoint_id in due.endpoints:
        ask_to_send(endpoint_id)


@step
def retention_task(now: DateTime) -> None:
    days = settings.retention_days, settings.webhook_retention_days, settings.keep_batches_days
    retention(context, now, *days, stopping.is_set)


def settle_page() -> bool:
    """Settle one page and refill the slots that it frees; say whether there may be more to settle."""
    context.leases.begun("settle")
    now = ledger_now()
    if now is None:
        return False
    report = settle(context, now)
    refill(now, report)
    return report.is_full


# What comes in while a page is settled makes the next one larger: few large pages cost much less than many small ones,
# which would also wait for each other's locks.
settling = Coalesced(settle_page, MOST_PAGES)


def dispatch_now(now: DateTime, batch_ids: Sequence[BatchId], freed_at: DateTime | None = None) -> None:
    """Dispatch, and let each departure leave at its time. `freed_at`: when the report came in that freed the slots."""
    report = dispatch(context, batch_ids, now, rng)
    for departure in report.departures:
        scheduler.after(departure.wait_seconds, partial(leave, departure, freed_at), departure.trunk.id)
    dispatch_all(report.again)
    if report.leases_lost:
        rescue_task.delay()


def leave(departure: Departure, freed_at: DateTime | None) -> None:
    """Let calls leave for their network; what may not leave yet is scheduled again."""
    try:
        now = ledger_now()
    except DialerError as error:
        outage.note(error)
        now = None
    if now is None:
        scheduler.after(AGAIN_SECONDS, partial(leave, departure, freed_at), departure.trunk.id)
        return
    try:
        with measures.timed("dialer_step_seconds", {"step": "place"}):
            report = place(context, departure, now)
    except PASSING as error:
        # Rescue looks at what was reserved.
        outage.note(error)
        return
    for later in report.later:
        scheduler.after(later.wait_seconds, partial(leave, later, freed_at), later.trunk.id)
    for answer, count in (("placed", report.placed), ("refused", report.refused), ("unclear", report.unclear)):
        measures.count("dialer_placements", {"said": answer}, count)
    measures.count("dialer_attempts", {"outcome": "refused"}, report.refused)
    for cause, count in report.causes.items():
        measures.count("dialer_refusals", {"cause": cause if cause in KNOWN_CAUSES else "other"}, count)
    if freed_at is not None:
        measures.duration("dialer_refill_seconds", {}, (wiring.clock() - freed_at).total_seconds())


def send_messages(endpoint_id: EndpointId) -> None:
    """Send a page of an endpoint's messages; where there are more, the next page after those of other endpoints."""
    report = WebhookReport()
    try:
        now = ledger_now()
        if now is not None:
            report = send_webhooks(context, webhook_client, endpoint_id, now, rng)
    except PASSING as error:
        outage.note(error)
    finally:
        endpoints_in_hand.discard(endpoint_id)
    for result, count in (("delivered", report.delivered), ("failed", report.failed)):
        measures.count("dialer_webhook_messages", {"result": result}, count)
    if report.is_full:
        ask_to_send(endpoint_id)


def refill(now: DateTime, report: SettleReport) -> None:
    """Dispatch batches with freed slots in this task and not in another, so that they are refilled at once."""
    dispatch_now(now, report.freed[:CHUNK], report.oldest_at)
    dispatch_all(report.freed[CHUNK:])
    count_outcomes(report.outcomes)
    for talk_seconds in report.talks:
        measures.duration("dialer_talk_seconds", {}, talk_seconds)
    if report.persons_wait and context.leases.ask_once("retry", ASKED_SECONDS):
        # Contacts whose person was in a call that has ended do not wait for beat (P6).
        retry_task.delay()


def count_outcomes(outcomes: Mapping[str, int]) -> None:
    """Add how attempts ended to the metrics."""
    for outcome, count in outcomes.items():
        measures.count("dialer_attempts", {"outcome": outcome}, count)


def ask_for_the_rest(report: TickReport) -> None:
    """Queue the other steps for which a tick has found work."""
    if report.has_reports:
        ask_settle()
    if report.has_bulk_changes:
        ask_bulk_change()


def ask_settle() -> None:
    """Queue a settle task unless one is queued: it will see all that is in the inbox by then."""
    if context.leases.ask_once("settle", ASKED_SECONDS):
        settle_task.delay()


def ask_to_send(endpoint_id: EndpointId) -> None:
    """Have a thread of this process send an endpoint's messages, unless one will."""
    if endpoint_id not in endpoints_in_hand:
        endpoints_in_hand.add(endpoint_id)
        webhook_scheduler.after(0, partial(send_messages, endpoint_id))


def ask_bulk_change() -> None:
    """Queue a task for the next page of a bulk change unless one is queued."""
    if context.leases.ask_once("bulk_change", ASKED_SECONDS):
        bulk_change_task.delay()


def dispatch_all(batch_ids: Sequence[BatchId]) -> None:
    """Hand batches to dispatch tasks, in chunks that different workers may take."""
    for first in range(0, len(batch_ids), CHUNK):
        dispatch_task.delay(list(batch_ids[first : first + CHUNK]))
