"""Structured logs on standard error: the message is a constant, values are fields, telephone numbers are masked."""

import logging
import re
import sys
from collections.abc import Callable, Mapping
from math import inf
from threading import Lock
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# All but the last two digits of an E.164 number anywhere in a text, also with a URL-encoded plus.
_NUMBER = re.compile(r"(\+|%2B)[1-9]\d{3,12}(?=\d{2})", re.IGNORECASE)

logger = structlog.get_logger()


def configure(log_format: Literal["console", "json"], log_level: str) -> None:
    """Configure logging of this process, including libraries. The last call counts."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _report_error,
        structlog.processors.format_exc_info,
        mask_numbers,
    ]
    last = _renderer(log_format)
    level = logging.getLevelNamesMapping()[log_level.upper()]
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    # Libraries log every connection and task at `info`; operators need only their warnings and errors.
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


_report: Callable[[EventDict], None] | None = None


def report_errors_to(report: Callable[[EventDict], None] | None) -> None:
    """Call `report` with each event of the level `error` from now on; None: nobody."""
    global _report
    _report = report


def _report_error(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if _report is not None and event["level"] == "error":
        _report(event)
    return event


class Outage:
    """Logs a repeated failure, such as a server that is away, at most once in `every_seconds`."""

    def __init__(self, message: str, seconds: Callable[[], float], every_seconds: float = 60.0) -> None:
        self._message, self._seconds, self._every_seconds = message, seconds, every_seconds
        self._lock = Lock()
        self._logged_at = -inf

    def note(self, error: Exception) -> None:
        """Log this failure, unless one was logged less than `every_seconds` ago."""
        with self._lock:
            is_due = self._seconds() - self._logged_at >= self._every_seconds
            if is_due:
                self._logged_at = self._seconds()
        if is_due:
            logger.warning(self._message, reason=f"{type(error).__name__}: {error}")


def _renderer(log_format: Literal["console", "json"]) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    # Tracebacks are already text here, with masked numbers.
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def mask_numbers(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask every telephone number in the values of a log event, except its last two digits."""
    return {key: masked(value) for key, value in event.items()}


def masked(value: Any) -> Any:
    """Return a value of an event with every telephone number in it masked."""
    match value:
        case str():
            return _NUMBER.sub(r"\1…", value)
        case Mapping():
            return {key: masked(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [masked(item) for item in value]
        case BaseException():
            return masked(str(value))
        case _:
            return value
