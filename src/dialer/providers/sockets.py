"""TCP connections on which nothing is delivered after it was given up.

A request that had no answer in time may still wait in this machine's kernel, which goes on sending for minutes, also
when the socket was closed or the process killed. By then rescue may have given the contact to another attempt (P1).
"""

import socket
import struct
from contextlib import suppress

SocketOption = tuple[int, int, int]

KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


def options(timeout_seconds: float) -> list[SocketOption]:
    """Return the options of a client's socket; those that this system does not have are left out.

    TCP_USER_TIMEOUT: what is not acknowledged in this time is discarded, even if the process stands still. Keepalive: a
    connection that a firewall has forgotten is found out before a call is sent on it.
    """
    tcp = {"TCP_USER_TIMEOUT": max(1, round(timeout_seconds * 1000)), **KEEPALIVE}
    named = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in tcp.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *named]


def reset_on_close(connection: socket.socket, on: bool) -> None:
    """Say whether closing the socket, by whatever means, discards what was not sent, and resets the connection.

    To be set while a request on it has had no answer. Once it has, a reset would only worry the other side's log.
    """
    # It may be closed already; uvloop says ValueError then.
    with suppress(OSError, ValueError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))
