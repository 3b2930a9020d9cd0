"""TERM and Ctrl-C, whatever a process has inherited. Imports nothing that takes time: every command begins with it."""

import signal


def accept_stop_signals() -> None:
    """Accept TERM and Ctrl-C (INT), even if this process inherited that they are ignored or blocked.

    A shell ignores INT in background jobs such as `nohup make test &`, and any parent may ignore or block both signals;
    children inherit that. Python then installs no handler for INT, so Ctrl-C and TERM would have no effect.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
