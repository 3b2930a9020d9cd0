"""Errors to Sentry: off, and nothing of it imported, unless DIALER_SENTRY_DSN is set.

Every line of the log with the level `error` is sent, with its fields and its traceback, and whatever ends a process.
Telephone numbers are masked as in the log; values of variables and requests are not sent.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from structlog.typing import EventDict

from dialer import log

if TYPE_CHECKING:
    from sentry_sdk.types import Event

# A process that ends waits for so long for the last errors to be sent.
LAST_SECONDS = 5.0

logger = structlog.get_logger()


def start(dsn: str | None, process: str, version: str, transport: Any = None) -> Callable[[], None]:
    """Send errors from now on, if there is a DSN. Return what must be called at the end.

    `transport`: sends in place of Sentry's own.
    """
    if dsn is None:
        return lambda: None
    try:
        import sentry_sdk
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    except ImportError as error:
        logger.warning("errors are not sent: the extra sentry is not installed", reason=str(error))
        return lambda: None
    sentry_sdk.init(
        dsn,
        release=f"dialer@{version}",
        transport=transport,
        default_integrations=False,
        integrations=[ExcepthookIntegration()],
        include_local_variables=False,
        max_breadcrumbs=0,
        before_send=_masked,
    )
    sentry_sdk.set_tag("process", process)
    log.report_errors_to(_send)

    def end() -> None:
        log.report_errors_to(None)
        sentry_sdk.flush(LAST_SECONDS)

    return end


def _send(event: EventDict) -> None:
    import sentry_sdk

    with sentry_sdk.new_scope() as scope:
        fields = {name: str(value) for name, value in event.items() if name not in ("event", "exc_info", "_record")}
        scope.set_context("log", {"event": str(event["event"]), **fields})
        error = event.get("exc_info")
        error = sys.exc_info() if error is True else error
        if error and error != (None, None, None):
            sentry_sdk.capture_exception(error)
        else:
            sentry_sdk.capture_message(str(event["event"]), "error")


def _masked(event: "Event", _: dict[str, Any]) -> "Event":
    masked: Event = log.masked(event)
    return masked
