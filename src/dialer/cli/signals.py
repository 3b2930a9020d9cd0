"""What TERM and Ctrl-C mean to a command."""

import signal
from threading import Event


def stop_signals() -> Event:
    """Return an event that is set by TERM or Ctrl-C; ask `is_set`, for a `wait` could deadlock with the handler."""
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def interrupt_on_term() -> None:
    """Make TERM raise KeyboardInterrupt, as Ctrl-C does, so that what a command has started is stopped in order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
