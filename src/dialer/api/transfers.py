"""Uploads, exports and audits: how many of each may run at once, in all and for one workspace.

Each takes a thread, a connection to Postgres or the memory of a page for as long as its client takes. What does not
fit is answered with 503 at once, so that no workspace waits for the clients of another.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from dialer.domain.ids import WorkspaceId
from dialer.errors import Busy

AT_ONCE = 8
PER_WORKSPACE = 2


class Transfers:
    """Those of one kind in this process."""

    def __init__(self, what: str, at_once: int = AT_ONCE, per_workspace: int = PER_WORKSPACE) -> None:
        self._what, self._at_once, self._per_workspace = what, at_once, per_workspace
        self._lock = Lock()
        self._running: Counter[WorkspaceId] = Counter()

    @property
    def running(self) -> int:
        return self._running.total()

    @contextmanager
    def one(self, workspace_id: WorkspaceId) -> Iterator[None]:
        """Run one; raises Busy where there are too many."""
        with self._lock:
            self._check(workspace_id)
            self._running[workspace_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= Counter([workspace_id])

    def _check(self, workspace_id: WorkspaceId) -> None:
        if self._running[workspace_id] >= self._per_workspace:
            raise Busy(f"This workspace has {self._per_workspace} {self._what} under way; try again when one is done")
        if self._running.total() >= self._at_once:
            raise Busy(f"{self._at_once} {self._what} are under way; try again when one is done")
