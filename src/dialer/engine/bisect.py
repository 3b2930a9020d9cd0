"""Bisection: process all items at once; where that fails, process halves, down to the single item that always fails.

Then one broken row, whatever is wrong with it, does not stop the others (P5, P6). An error that says nothing about the
rows, as of a server that is down or a schema that does not fit, is raised as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from dialer.errors import Contended, Unavailable

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger()


def _ignore(_: object) -> None:
    """Do nothing about an item that is locked."""


def run_bisecting(
    items: Sequence[T],
    work: Callable[[Sequence[T]], R],
    on_failure: Callable[[T, Exception], None],
    on_locked: Callable[[T], None] = _ignore,
) -> list[R]:
    """Return the result of `work` for each part of the items, in their order.

    `on_failure` is called with an item that fails alone, `on_locked` with one whose rows another transaction holds,
    which is no failure of the item.
    """
    return _Bisection(work, on_failure, on_locked).run(items)


@dataclass(frozen=True, slots=True)
class _Bisection(Generic[T, R]):
    """`logged`: types of errors whose traceback is in the log already, since many rows may fail alike."""

    work: Callable[[Sequence[T]], R]
    on_failure: Callable[[T, Exception], None]
    on_locked: Callable[[T], None]
    logged: set[type[Exception]] = field(default_factory=set)

    def run(self, items: Sequence[T]) -> list[R]:
        try:
            return [self.work(items)]
        except Unavailable:
            raise
        except Exception as error:
            if not items:
                raise
            if len(items) == 1:
                self._pass_over(items[0], error)
                return []
            log.warning("tried in halves", items=len(items), reason=repr(error))
        half = len(items) // 2
        return [*self.run(items[:half]), *self.run(items[half:])]

    def _pass_over(self, item: T, error: Exception) -> None:
        if isinstance(error, Contended):
            log.warning("locked, and put off", item=str(item), reason=str(error))
            self.on_locked(item)
            return
        log.warning("passed over", item=str(item), reason=repr(error), exc_info=type(error) not in self.logged)
        self.logged.add(type(error))
        self.on_failure(item, error)
