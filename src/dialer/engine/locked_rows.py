"""What a step does about rows that another session keeps locked: it waits shortly, then works without them."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from dialer.errors import Contended

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger()


def retry_skipping_locked(work: Callable[Concatenate[bool, P], R], *arguments: P.args, **named: P.kwargs) -> R:
    """Call `work(False, ...)`; where rows stay locked by another session, `work(True, ...)`, which skips locked rows.

    One session that keeps its transaction open then delays only its own rows (P6).
    """
    try:
        return work(False, *arguments, **named)
    except Contended as error:
        log.info("locked rows are passed over", reason=str(error))
        return work(True, *arguments, **named)
