"""The API uses the database's clock, even when this machine's clock is wrong."""

from dataclasses import dataclass, field

import pendulum
from pendulum import DateTime

from dialer.errors import Unavailable
from dialer.store.database import Database
from dialer.wiring import REREAD_SECONDS, LedgerClock
from support.deadline import wait_until

NOON = pendulum.datetime(2026, 3, 2, 12)


@dataclass
class Ledger(Database):
    """A database of which only the clock is used."""

    times: list[DateTime | None] = field(default_factory=list)

    def now(self) -> DateTime:
        at = self.times.pop(0)
        if at is None:
            raise Unavailable("Postgres does not answer")
        return at


def test_the_ledgers_clock_goes_on_by_itself_and_is_read_again_every_few_seconds() -> None:
    passed = [0.0]
    ledger = Ledger([NOON, None, NOON.add(hours=1)])
    clock = LedgerClock(ledger, lambda: passed[0])
    assert clock() == NOON
    passed[0] = REREAD_SECONDS
    assert clock() == NOON.add(seconds=REREAD_SECONDS)
    assert len(ledger.times) == 2
    # Postgres is unavailable the first time, so the clock continues from the last reading.
    passed[0] = REREAD_SECONDS + 1
    assert clock() == NOON.add(seconds=REREAD_SECONDS + 1)
    wait_until(lambda: len(ledger.times) == 1)
    wait_until(lambda: clock() == NOON.add(hours=1))
