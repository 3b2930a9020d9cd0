"""Follows the event stream of a batch. A broken stream is resumed after the last event received."""

import json
import time
from collections.abc import Iterator
from uuid import UUID

import httpx2
import pendulum
from pendulum import DateTime

from dialer.cli.client import Client, raise_for_error
from dialer.domain.batch_progress import Progress
from dialer.domain.ids import BatchId
from dialer.domain.states import BatchStatus
from dialer.errors import Unavailable

RECONNECT_SECONDS = 1.0
OUTAGE_SECONDS = 60.0


def progress_of(client: Client, batch_id: str) -> Iterator[Progress]:
    """Yield the progress of the batch on every change, until it is over.

    Raises Unavailable when the API has not answered for a minute.
    """
    last_id, failing_since = "", None
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with client.http.sse(f"/batch-calls/{batch_id}/events", headers=headers) as events:
                if not events.response.is_success:
                    events.response.read()
                raise_for_error(events.response)
                if events.response.status_code == 204:
                    return
                failing_since = None
                for event in events:
                    last_id = event.id or last_id
                    if event.event == "end":
                        return
                    if event.event == "progress":
                        yield _progress(json.loads(event.data))
        except (httpx2.TransportError, Unavailable) as error:
            failing_since = failing_since or time.monotonic()
            if time.monotonic() - failing_since > OUTAGE_SECONDS:
                raise Unavailable(
                    f"The API does not answer ({error}); the batch continues without being watched"
                ) from None
        time.sleep(RECONNECT_SECONDS)


def first_retry_of(client: Client, batch_id: str) -> DateTime | None:
    """Ask when the next contact of a batch would be called."""
    return _time(client.get(f"/batch-calls/{batch_id}/explain")["next_at"])


def _progress(data: dict[str, object]) -> Progress:
    values = {name: value for name, value in data.items() if name in Progress.__dataclass_fields__}
    counts = data["counts"]
    assert isinstance(counts, dict)
    times = {name: _time(data[name]) for name in ("next_dispatch_at", "drained_at")}
    typed = {"id": BatchId(UUID(str(data["id"]))), "status": BatchStatus(str(data["status"]))}
    return Progress(**values | counts | times | typed)  # type: ignore[arg-type]


def _time(text: object) -> DateTime | None:
    parsed = pendulum.parse(str(text)) if text else None
    assert parsed is None or isinstance(parsed, DateTime)
    return parsed
