"""Which addresses a trunk may connect to.

A trunk's config is written by a tenant, and the connection leaves from this machine: without this check the admin of
any workspace could scan the machine's own networks (SSRF). In: a host and a port of a trunk's config. Out: a
connection to an address that is public, or that the machine's owner allows to the trunk's workspace.

The host is resolved once, and the checked address is the one connected to: a second DNS answer cannot replace it (DNS
rebinding).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeVar

import structlog

from dialer.domain.allow_list import LOOPBACK

T = TypeVar("T")
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]

# RFC 6052: a gateway turns these addresses into the IPv4 addresses in their last 32 bits.
NAT64 = ip_network("64:ff9b::/96")
MAX_ADDRESSES = 8

log = structlog.get_logger()


class AddressRefused(OSError):
    """No connection is made.

    The message is the same for an unknown name and for an address that is not allowed, so that a tenant cannot find out
    which names and addresses the machine's networks have. The details are in the log.
    """

    def __init__(self) -> None:
        super().__init__("the host is not known, or is in a network that this workspace may not connect to")


async def resolve_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host, each once, in the order of this system's preference."""
    results = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in results))


@dataclass(frozen=True, slots=True)
class Egress:
    """The networks that a workspace may connect to besides the public ones."""

    allowed: tuple[Network, ...] = ()
    resolve: Resolve = resolve_host  #: Finds the addresses of a host.

    @classmethod
    def to(cls, networks: Iterable[str], resolve: Resolve = resolve_host) -> "Egress":
        return cls(tuple(map(ip_network, networks)), resolve)

    def permits(self, address: str) -> bool:
        """Say whether a connection to this IP address may be made."""
        target = _target(ip_address(address))
        return _is_public(target) or any(target in network for network in self.allowed)

    def permits_host(self, host: str) -> bool:
        """Say whether a host may be connected to, as far as its text shows it: it is no IP address, or a permitted one.

        Resolvers also read short and numeric forms of IPv4 addresses, as 127.1 and 2130706433.
        """
        try:
            return self.permits(host)
        except ValueError:
            pass
        try:
            return self.permits(socket.inet_ntoa(socket.inet_aton(host)))
        except OSError:
            return True

    async def connect(self, host: str, port: int, seconds: float, open_at: Callable[[str], Awaitable[T]]) -> T:
        """Open a connection to the first address of the host that accepts it; each has an equal share of the time.

        `open_at`: connects to an IP address. Raises AddressRefused before anything is sent, TimeoutError, or what
        connecting to the last address raises.
        """
        async with asyncio.timeout(seconds):
            *others, last = await self._permitted(host, port)
            for address in others:
                try:
                    async with asyncio.timeout(seconds / (len(others) + 1)):
                        return await open_at(address)
                except Exception as error:
                    log.info("address of a trunk does not answer", host=host, address=address, reason=repr(error))
            return await open_at(last)

    async def _permitted(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self.resolve(host, port)
        except (socket.gaierror, UnicodeError) as error:
            raise AddressRefused from error
        permitted = [address for address in addresses if self.permits(address)]
        if not permitted:
            _log_refusal(host, tuple(addresses))
            raise AddressRefused
        return permitted[:MAX_ADDRESSES]


THIS_MACHINE = Egress.to(LOOPBACK)


@lru_cache(maxsize=1024)
def _log_refusal(host: str, addresses: tuple[str, ...]) -> None:
    """Log it once: a listener tries its trunks every few seconds."""
    log.warning("address of a trunk refused", host=host, addresses=addresses)


def _target(address: Address) -> Address:
    """Return where packets to this address really go: an IPv6 address may contain an IPv4 address."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
