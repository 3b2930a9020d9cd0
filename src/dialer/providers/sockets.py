"""Socket options that keep the kernel from delivering a request after it was given up.

A request without a response may still wait in this machine's send buffer. The kernel goes on sending it for minutes,
also when the socket was closed or the process killed. By then rescue may have given the contact to another attempt
(P1).
"""

import socket
import struct
from contextlib import suppress

SocketOption = tuple[int, int, int]

KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


def options(timeout_seconds: float) -> list[SocketOption]:
    """Return the options of a client's socket; those that this system does not have are left out.

    TCP_USER_TIMEOUT: what is not acknowledged in this time is discarded, even if the process is stopped. Keepalive: a
    connection that a firewall has dropped is detected before a call is sent on it.
    """
    tcp = {"TCP_USER_TIMEOUT": max(1, round(timeout_seconds * 1000)), **KEEPALIVE}
    named = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in tcp.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *named]


def reset_on_close(connection: socket.socket, on: bool) -> None:
    """Set whether closing the socket, by whatever means, discards unsent bytes and resets the connection (SO_LINGER 0).

    On while a request on it has no response. Off afterwards: a reset would be an error in the other side's log.
    """
    # It may be closed already; uvloop raises ValueError then.
    with suppress(OSError, ValueError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))
