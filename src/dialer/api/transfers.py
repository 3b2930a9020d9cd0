"""Limits how many uploads, exports and audits run at once, in total and per workspace.

Each holds a thread, a connection to Postgres or a page in memory for as long as its client is slow. Beyond the limit a
request is answered with 503 at once, so that no workspace waits for the clients of another.
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
    """The running transfers of one kind in this process; `plural` is what error messages call them."""

    def __init__(self, plural: str, at_once: int = AT_ONCE, per_workspace: int = PER_WORKSPACE) -> None:
        self._plural, self._at_once, self._per_workspace = plural, at_once, per_workspace
        self._lock = Lock()
        self._running: Counter[WorkspaceId] = Counter()

    @property
    def running(self) -> int:
        return self._running.total()

    @contextmanager
    def slot(self, workspace_id: WorkspaceId) -> Iterator[None]:
        """Hold a slot for one transfer; raises Busy where too many run."""
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
            raise Busy(f"This workspace has {self._per_workspace} {self._plural} under way; try again when one is done")
        if self._running.total() >= self._at_once:
            raise Busy(f"{self._at_once} {self._plural} are under way; try again when one is done")
