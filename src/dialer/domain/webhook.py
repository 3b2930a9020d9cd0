"""What the outside world is told: the events, their messages, and when a message that failed is sent again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from random import Random
from typing import Any
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import EndpointId
from dialer.domain.timezones import in_utc, times_in_utc

FIRST_RETRY_SECONDS = 5.0
LAST_RETRY_SECONDS = 3600.0
"""The delay doubles with each try from the first to the last of these."""

JITTER = 0.25
"""Each delay is longer or shorter by up to this share, so that receivers that come back are not flooded."""

FAILING_AFTER = 5
"""After this many failures in a row, an endpoint gets one message at a time."""

LAST_PAUSE_SECONDS = 300.0
"""The longest time for which a failing endpoint is left alone."""

GONE = 410


class WebhookEvent(StrEnum):
    """What an endpoint may subscribe to."""

    BATCH_STATUS_CHANGED = "batch.status_changed"  #: A batch has another status.
    BATCH_COMPLETED = "batch.completed"  #: Every contact of a batch is final.
    CALL_STARTED = "call.started"  #: The network has a call.
    CALL_ENDED = "call.ended"  #: A call is over; the message has its outcome.
    CONTACT_FINISHED = "contact.finished"  #: A contact is final: it is not called again.


class DeliveryStatus(StrEnum):
    """What became of a message."""

    PENDING = "pending"  #: It is sent when it is due.
    DELIVERED = "delivered"  #: The endpoint has answered 2xx.
    DEAD = "dead"  #: A day has passed without success. It is sent again only by a replay.


@dataclass(frozen=True, slots=True)
class Message:
    """An event for one endpoint. `attempts`: how often it was sent before. `data`: what happened, as JSON values.

    `type`: a WebhookEvent, or one of a later release.
    """

    position: int
    id: UUID
    type: str
    batch_id: UUID
    sequence: int
    created_at: DateTime
    attempts: int
    data: dict[str, Any]

    @property
    def body(self) -> bytes:
        """The JSON that is sent and signed, the same at every try."""
        fields = {
            "type": self.type,
            "timestamp": in_utc(self.created_at),
            "data": times_in_utc(self.data) | {"sequence": self.sequence},
        }
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages of an endpoint go. `secrets`: each signs them; several while one is being replaced.

    `failures`: how many messages in a row have failed.
    """

    id: EndpointId
    url: str
    secrets: tuple[str, ...]
    failures: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered to a message. `error`: why it counts as failed; None: it is delivered."""

    status: int | None
    error: str | None

    @property
    def is_gone(self) -> bool:
        """Say whether the endpoint wants no more messages."""
        return self.status == GONE


def retry_seconds(tries: int, rng: Random, longest: float = LAST_RETRY_SECONDS) -> float:
    """Return after how many seconds something that has failed `tries` times in a row is tried again."""
    delay = min(FIRST_RETRY_SECONDS * 2.0 ** min(tries - 1, 20), longest)
    return delay * rng.uniform(1 - JITTER, 1 + JITTER)


def failures_in_a_row(before: int, answers: Sequence[Answer]) -> int:
    """Return how many messages in a row have failed after these answers, in their order; `before`: before them."""
    failed = list(takewhile(lambda answer: answer.error is not None, reversed(answers)))
    return len(failed) + (before if len(failed) == len(answers) else 0)


def pause_seconds(failures: int, rng: Random) -> float:
    """Return for how many seconds an endpoint with this many failures in a row is left alone: 0 while they are few."""
    if failures < FAILING_AFTER:
        return 0.0
    return retry_seconds(failures - FAILING_AFTER + 1, rng, LAST_PAUSE_SECONDS)
