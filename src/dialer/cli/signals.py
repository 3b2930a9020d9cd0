"""How commands handle TERM and Ctrl-C."""

import signal
from threading import Event


def stop_signals() -> Event:
    """Return an event that TERM or Ctrl-C sets. Poll `is_set`: `wait` could deadlock with the signal handler."""
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def interrupt_on_term() -> None:
    """Make TERM raise KeyboardInterrupt like Ctrl-C, so that the processes of a command are stopped in order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
