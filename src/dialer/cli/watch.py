"""Watches a batch of an engine on this machine until it is over."""

import time
from collections.abc import Callable, Iterator
from functools import partial

from rich.console import Console

from dialer.cli.progress import PrintLine, display, duration, line_printer
from dialer.domain.batch_progress import Progress
from dialer.domain.ids import BatchId
from dialer.domain.states import FINAL_BATCH
from dialer.errors import Unavailable
from dialer.service import batches
from dialer.store.database import Database

REFRESH_SECONDS = 0.5
# Longer than a Postgres takes to restart. Calls do not depend on being watched.
OUTAGE_SECONDS = 60.0


def watch(db: Database, batch_id: BatchId, tend: Callable[[], None], console: Console) -> Progress:
    """Show a batch until it is over and its last call has ended; return its last progress.

    `tend` is called several times a second. Raises Unavailable when Postgres does not answer for a minute.
    """
    first_retry = partial(batches.first_retry_at, db, batch_id)
    return display(_poll(db, batch_id, tend, line_printer(console)), console, first_retry)


def _poll(db: Database, batch_id: BatchId, tend: Callable[[], None], print_line: PrintLine) -> Iterator[Progress]:
    while True:
        progress = _read(db, batch_id, tend, print_line)
        yield progress
        if progress.status in FINAL_BATCH and not (progress.dialing or progress.is_finishing):
            return
        time.sleep(REFRESH_SECONDS)


def _read(db: Database, batch_id: BatchId, tend: Callable[[], None], print_line: PrintLine) -> Progress:
    """Read the progress; if Postgres does not answer, retry for a minute."""
    give_up_at: float | None = None
    while True:
        tend()
        try:
            return batches.read_progress(db, batch_id)
        except Unavailable as error:
            if give_up_at is None:
                give_up_at = time.monotonic() + OUTAGE_SECONDS
                print_line(f"{error}; trying again for {duration(OUTAGE_SECONDS)}")
            elif time.monotonic() > give_up_at:
                raise
        time.sleep(REFRESH_SECONDS)
