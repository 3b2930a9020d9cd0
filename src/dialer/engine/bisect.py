"""Do it for all at once; where that fails, in halves, down to the one that always fails: it alone is passed over.

So that one broken row, whatever is wrong with it, cannot stop the others; nor can a row that someone else keeps locked.
What says nothing about the rows (a server that is away, a schema that does not fit) is raised as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from dialer.errors import Contended, Unavailable

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger()


def apart(
    items: Sequence[T],
    work: Callable[[Sequence[T]], R],
    pass_over: Callable[[T, Exception], None],
    put_off: Callable[[T], None] = lambda _: None,
) -> list[R]:
    """Return what `work` returned for each part of the items, in their order.

    `pass_over` gets the one that fails; `put_off` the one that is locked, which is no failure.
    """
    return _Apart(work, pass_over, put_off).do(items)


@dataclass(frozen=True, slots=True)
class _Apart(Generic[T, R]):
    """`told`: the kinds of error whose traceback is in the log; many rows may fail alike."""

    work: Callable[[Sequence[T]], R]
    pass_over: Callable[[T, Exception], None]
    put_off: Callable[[T], None]
    told: set[type[Exception]] = field(default_factory=set)

    def do(self, items: Sequence[T]) -> list[R]:
        try:
            return [self.work(items)]
        except Unavailable:
            raise
        except Exception as error:
            if not items:
                raise
            if len(items) == 1:
                self._alone(items[0], error)
                return []
            log.warning("tried in halves", items=len(items), reason=repr(error))
        half = len(items) // 2
        return [*self.do(items[:half]), *self.do(items[half:])]

    def _alone(self, item: T, error: Exception) -> None:
        if isinstance(error, Contended):
            log.warning("locked, and put off", item=str(item), reason=str(error))
            self.put_off(item)
            return
        log.warning("passed over", item=str(item), reason=repr(error), exc_info=type(error) not in self.told)
        self.told.add(type(error))
        self.pass_over(item, error)


def passing_locks(work: Callable[[bool], R]) -> R:
    """Do `work`; where rows that it needs stay locked by someone else, do it again without them.

    `work` is told whether to pass over what is locked.
    """
    try:
        return work(False)
    except Contended as error:
        log.info("locked rows are passed over", reason=str(error))
        return work(True)
