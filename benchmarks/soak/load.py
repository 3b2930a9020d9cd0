"""A steady load: contacts are always due in the same number of batches, and those that are over go away."""

import time
from dataclasses import dataclass, field

import httpx2

from benchmarks.faults import RETRIES
from dialer import wiring
from dialer.bench.api import add_platform
from dialer.bench.engine import Engine
from dialer.bench.refill import HALF_MINUTE
from dialer.bench.requests import REQUESTS
from dialer.domain.ids import BatchId
from dialer.engine.retention import retention
from dialer.service import batches

# Calls of about three seconds. A third of them is repeated once; some reports come twice, late, or not at all.
NETWORK = {
    **HALF_MINUTE,
    "speed": 10.0,
    "outcomes": {"answered": 4, "busy": 1, "no_answer": 1},
    "faults": {"repeated": 0.01, "reordered": 0.01, "lost": 0.0002},
}
CALL_SECONDS = 3
BATCHES = 5
SLOTS_PER_BATCH = 40
REQUEST_SECONDS = 1.0


@dataclass(slots=True)
class Load:
    """`contacts`: of one batch. `keep_seconds`: how long an ended batch stays before it is archived and deleted."""

    engine: Engine
    contacts: int
    keep_seconds: float
    answered: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    _client: httpx2.Client = field(init=False)
    _platform: str = field(init=False)
    _batch: BatchId = field(init=False)
    _asked_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.engine.api_key()}"}
        self._client = httpx2.Client(base_url=f"{self.engine.supervisor.url}/v1", headers=headers)
        self._platform = add_platform(self.engine)

    def start(self) -> None:
        """Start batches of different sizes, so that they do not end at the same time."""
        for number in range(1, BATCHES + 1):
            self._add(self.contacts * number // BATCHES)

    def keep_up(self) -> None:
        """Replace batches that have no contact left to start, and ask the API now and then."""
        full = self.engine.rows(
            """
            SELECT 1 FROM batches b JOIN batch_progress p ON p.batch_id = b.id
            WHERE b.status = 'active' AND p.pending > 0
            """
        )
        for _ in range(BATCHES - len(full)):
            self._add(self.contacts)
        if time.monotonic() > self._asked_at + REQUEST_SECONDS:
            self._asked_at = time.monotonic()
            for kind, target in (("read", str(self._batch)), ("report", self._platform)):
                self._ask(kind, target)

    def clear(self) -> None:
        """Archive what was over for a while, remove its reports, and delete what was archived before.

        The engine does this every hour, and with days where this has `keep_seconds`: the setting counts in days.
        """
        archived = self.engine.rows("SELECT id FROM batches WHERE archived_at IS NOT NULL")
        for row in archived:
            batches.delete(self.engine.context.db, self.engine.workspace_id, row.id)
        retention(self.engine.context, wiring.clock().subtract(seconds=self.keep_seconds), days=0)

    def stop(self) -> None:
        """Cancel what is left. Calls in progress go on."""
        self.engine.run("UPDATE batches SET status = 'cancelled' WHERE status = 'active'")
        self._client.close()

    def _add(self, contacts: int) -> None:
        self._batch = self.engine.add_batch(contacts, max_concurrent_calls=SLOTS_PER_BATCH, **RETRIES)
        self.engine.start([self._batch])

    def _ask(self, kind: str, target: str) -> None:
        """Send one request; count whether it was answered: the API may have been killed a moment ago."""
        try:
            is_answered = self._client.send(REQUESTS[kind](self._client, target, str(self.answered))).is_success
        except httpx2.TransportError:
            is_answered = False
        self.answered += is_answered
        self.refused += not is_answered
