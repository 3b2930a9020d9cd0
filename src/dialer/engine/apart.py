"""Do it for all at once; where that fails, in halves, down to the one that always fails: it alone is passed over.

So that one broken row, whatever is wrong with it, cannot stop the others. What passes by itself (a server that is
away, a transaction that is in the way) says nothing about the rows, and is raised as it is.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from dialer.errors import Contended, Unavailable

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger()


def apart(items: Sequence[T], work: Callable[[Sequence[T]], R], pass_over: Callable[[T, Exception], None]) -> list[R]:
    """Return what `work` returned for each part of the items, in their order. `pass_over` gets the one that fails."""
    try:
        return [work(items)]
    except (Contended, Unavailable):
        raise
    except Exception as error:
        if not items:
            raise
        if len(items) == 1:
            log.exception("set aside", item=str(items[0]))
            pass_over(items[0], error)
            return []
        log.warning("tried in halves", items=len(items), reason=repr(error))
    half = len(items) // 2
    return [*apart(items[:half], work, pass_over), *apart(items[half:], work, pass_over)]
