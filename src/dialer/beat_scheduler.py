"""The scheduler of beat: without a file, by a clock that does not jump, and as patient as it takes with the broker."""

from datetime import timedelta
from typing import Any

from celery import beat
from celery.schedules import schedule

from dialer import wiring
from dialer.heartbeat import Heartbeat
from dialer.log import Outage

# Celery's own clock is that of the machine: beat would send nothing for as long as it is set back.
steady = wiring.steady_clock()


def every(seconds: float) -> dict[str, Any]:
    """Return an entry of the schedule: how often it is due."""
    return {"schedule": schedule(timedelta(seconds=seconds), nowfun=steady)}


class BeatScheduler(beat.Scheduler):  # type: ignore[misc]  # Celery brings no types
    """The schedule of beat, in memory: the next second makes up for whatever was missed."""

    heartbeat: Heartbeat
    outage: Outage

    def tick(self, *arguments: Any, **named: Any) -> float:
        """Send one task that is due; return the seconds until the next one."""
        self.heartbeat.touch()
        wait_seconds: float = super().tick(*arguments, **named)
        return wait_seconds

    def apply_entry(self, entry: beat.ScheduleEntry, producer: Any = None) -> None:
        """Send a task; one that cannot be sent is sent at its next time."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            self.outage.note(error)

    def _ensure_connected(self) -> Any:
        """Connect to the broker, as often as it takes."""

        def on_failure(error: Exception, _: float) -> None:
            self.heartbeat.touch()
            self.outage.note(error)

        return self.connection.ensure_connection(on_failure, self.app.conf.broker_connection_max_retries)

    def close(self) -> None:
        """Leave the connection open: it ends with the process.

        The TERM handler calls this in the middle of whatever beat does. A connection that is closed under a tick would
        raise its error there instead of the exit that TERM asks for, and beat would go on.
        """
