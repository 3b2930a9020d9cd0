"""Why there was no answer, in words: a short one for the ledger, and a clause for people.

In: what the HTTP client raised. Out: words that tell apart a host that is not there, TLS that fails, silence and
garbage. What the other side sent is repeated in part at most.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2

from dialer.providers.egress import AddressRefused

LONGEST_QUOTE = 100


@dataclass(frozen=True, slots=True)
class Trouble:
    cause: str
    reason: str


def trouble(error: Exception, seconds: float) -> Trouble:
    """Find what lies at the bottom of it. `seconds`: how long an answer was waited for."""
    # First, for what was being waited for lies below it.
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return Trouble("timed_out", "no connection in time")
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return Trouble("timed_out", f"no answer within {seconds:g} seconds")
    for one in _all(error):
        match one:
            case ssl.SSLCertVerificationError():
                return Trouble("tls_failed", f"its TLS certificate is not trusted ({one.verify_message})")
            case ssl.SSLError():
                return Trouble("tls_failed", f"TLS failed ({one.reason or type(one).__name__})")
            case AddressRefused():
                return Trouble("network_unreachable", str(one))
            case ConnectionRefusedError():
                return Trouble("network_unreachable", "nothing listens there")
    if isinstance(error, httpx2.RemoteProtocolError):
        return Trouble("protocol_error", f"what it answered is not HTTP, or broke off ({str(error)[:LONGEST_QUOTE]})")
    return Trouble("network_unreachable", f"the connection failed ({type(error).__name__})")


def _all(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it; a host with several addresses fails once for each."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        members = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [each for each in (one.__cause__, one.__context__, *members) if each is not None]
