"""Why batches wait, for all open pages of a process: one explanation at a time, and of each batch every few seconds.

A batch of a million contacts takes half a second to explain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pendulum import DateTime

from dialer.console import words
from dialer.domain.ids import BatchId
from dialer.engine.context import EngineContext
from dialer.errors import Contended, NotFound, Unavailable
from dialer.service import explain

MAX_AGE_SECONDS = 4.0
FORGET_SECONDS = 60.0

View = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Known:
    """`state`: of the batch, as it was explained. `at`: in seconds of the process."""

    state: tuple[Any, ...]
    at: float
    explanation: dict[str, Any] | None


class Explanations:
    """Explains batches that wait. `seconds`: a clock that only goes forward."""

    def __init__(self, context: EngineContext, seconds: Callable[[], float]) -> None:
        self._context, self._seconds = context, seconds
        self._known: dict[BatchId, _Known] = {}
        self._lock = Lock()

    def of(self, batch: View, now: DateTime) -> dict[str, Any] | None:
        """Explain a batch, unless that was done in the last seconds.

        None: it does not wait, or it cannot be explained now, because a server does not answer in time.
        """
        if not words.waits(batch):
            return None
        with self._lock:
            known, at = self._known.get(batch["id"]), self._seconds()
            if known is None or known.state != _state(batch) or at - known.at >= MAX_AGE_SECONDS:
                known = _Known(_state(batch), at, self._explain(batch, now))
                recent = {other: old for other, old in self._known.items() if at - old.at < FORGET_SECONDS}
                self._known = {**recent, batch["id"]: known}
            return known.explanation

    def _explain(self, batch: View, now: DateTime) -> dict[str, Any] | None:
        try:
            explained = explain.explain_batch(self._context, batch["workspace_id"], batch["id"], now)
        except (NotFound, Unavailable, Contended):
            return None
        # So that pages change only when something else does.
        del explained["evaluated_at"]
        return explained

    def latest(self, batch: View) -> dict[str, Any] | None:
        """Return what is known already; None: the batch does not wait, or has changed since."""
        known = self._known.get(batch["id"])
        return known.explanation if known and known.state == _state(batch) and words.waits(batch) else None


def _state(batch: View) -> tuple[Any, ...]:
    return batch["status"], batch["held_by"], batch["version"], batch["counts"]["total"]
