"""Settings of a batch that are valid and probably not meant: they have no effect, or another one than one expects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Abbreviations that are zones without daylight saving time, and the zone that people mean by them.
MEANT_BY = {"EST": "America/New_York", "MST": "America/Denver", "HST": "Pacific/Honolulu"}


@dataclass(frozen=True, slots=True)
class BatchWarning:
    """`field`: of the batch. `message` completes a sentence that begins with the field's name."""

    field: str
    message: str


def warnings_about(batch: Mapping[str, Any]) -> Iterator[BatchWarning]:
    """Yield what is probably not meant. `batch`: its settings by the names of the API."""
    if not batch["retry_failed"]:
        for field in ("max_retry_attempts", "retry_delays", "retry_machine"):
            if batch[field]:
                yield BatchWarning(field, "has no effect while retry_failed is false")
    elif not batch["max_retry_attempts"]:
        yield BatchWarning("retry_failed", "has no effect while max_retry_attempts is 0")
    zone = batch["timezone"]
    if zone in MEANT_BY:
        yield BatchWarning("timezone", f"has no daylight saving time; {MEANT_BY[zone]} is the zone of a place")
    elif zone.startswith("Etc/GMT") and zone.removeprefix("Etc/GMT").strip("+-0"):
        side = "behind" if "+" in zone else "ahead of"
        yield BatchWarning(
            "timezone", f"is {side} UTC, against what its sign suggests, and has no daylight saving time"
        )
