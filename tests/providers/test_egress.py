"""No trunk connects to a private address unless the machine's owner allows it, whatever its host is written like."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from dialer.domain.call import CallHandle
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.errors import Unavailable
from dialer.providers import registry
from dialer.providers.base import CallRequest, LookupFailed, Provider, ProviderEnvironment, Refused
from dialer.providers.egress import AddressRefused, Egress, Resolve, resolve_host
from support.networks import asterisk, freeswitch, http, twilio
from support.networks.switch import now
from support.networks.tcp_server import tcp_server
from support.resolvers import answering, no_answer, no_such_host

TRUNK = TrunkId(UUID(int=9))
NOWHERE = Egress()
CONFIGS: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "asterisk": lambda port, host: asterisk.trunk(port, host=host)["config"],
    "freeswitch": lambda port, host: freeswitch.trunk(port, host=host)["config"],
    "http": lambda port, host: http.trunk(port, host=host)["config"],
    "simulator": lambda port, host: {"url": f"tcp://{host}:{port}"},
    "twilio": lambda port, host: twilio.trunk(port, host=host)["config"],
}
CONNECTIONS: dict[str, Any] = {
    "asterisk": asterisk.CONNECTION,
    "freeswitch": freeswitch.CONNECTION,
    "twilio": twilio.CONNECTION,
}
PRIVATE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fec0::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a01:203", "2002:7f00:1::1",
    "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")


@asynccontextmanager
async def counted() -> AsyncIterator[tuple[int, list[str]]]:
    """A port of loopback, on which connections are counted."""
    seen: list[str] = []

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(str(writer.get_extra_info("peername")))
        writer.close()

    async with tcp_server(connected) as port:
        yield port, seen


def provider(kind: str, port: int, host: str, egress: Egress, **config: Any) -> Provider:
    around = ProviderEnvironment(
        now, lambda _: "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "http://127.0.0.1:1", egress
    )
    return registry.plugin(kind).connect(TRUNK, CONFIGS[kind](port, host) | config, around)


async def first_link(connected: Provider) -> str | None:
    """Listen until the first word of how the connection is; None: this network reports by HTTP."""
    reasons: list[str | None] = []

    async def on_link_state(reason: str | None) -> None:
        reasons.append(reason)
        raise Unavailable("enough")

    async def on_events(_: object) -> None:
        raise AssertionError

    try:
        await connected.listen(on_events, on_link_state)
    except Unavailable:
        return reasons[0]
    return None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_in_every_form(address: str) -> None:
    assert not NOWHERE.permits(address)
    assert not Egress.to(["172.31.0.0/16", "fd00::/8"]).permits(address)


def test_public_addresses_and_networks_that_the_owner_allows_are_permitted() -> None:
    assert [address for address in PUBLIC if not NOWHERE.permits(address)] == []
    allowed = Egress.to(["10.1.0.0/16"])
    assert allowed.permits("10.1.2.3")
    assert allowed.permits("::ffff:10.1.2.3")
    assert not allowed.permits("10.2.0.1")


def test_every_kind_of_trunk_is_tried_here() -> None:
    assert set(CONFIGS) == set(registry.names())


@pytest.mark.parametrize("host", ["127.0.0.1", "carrier.example"])
@pytest.mark.parametrize("kind", sorted(CONFIGS))
async def test_no_kind_of_trunk_connects_to_an_address_that_is_not_allowed(
    kind: str, host: str, call_request: Callable[..., CallRequest]
) -> None:
    async with counted() as (port, seen):
        egress = NOWHERE if host == "127.0.0.1" else Egress(resolve=answering("127.0.0.1"))
        connected = provider(kind, port, host, egress)
        request = replace(call_request(now()), connection=CONNECTIONS.get(kind, {}))
        call = CallHandle(request.attempt_id, request.to_number, request.from_number, now(), None)
        try:
            reasons = [await connected.health(), await first_link(connected)]
            placed, looked_up = await connected.place(request), await connected.look_up(call)
            with pytest.raises(Unavailable):
                await connected.hang_up(call)
        finally:
            await connected.close()
    assert seen == []
    assert placed == Refused("network_unreachable", CauseClass.INFRASTRUCTURE)
    assert isinstance(looked_up, LookupFailed)
    assert str(AddressRefused()) in (reasons[0] or "")
    assert all(str(AddressRefused()) in reason for reason in reasons[1:] if reason)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
async def test_a_refused_address_and_an_unknown_host_are_told_in_the_same_words(kind: str) -> None:
    async def health(resolve: Resolve) -> str:
        connected = provider(kind, 1, "carrier.example", Egress(resolve=resolve))
        try:
            return await connected.health() or ""
        finally:
            await connected.close()

    refused, unknown = await health(answering("127.0.0.1")), await health(no_such_host)
    assert str(AddressRefused()) in refused
    assert refused == unknown


@pytest.mark.parametrize("kind", sorted(CONFIGS))
async def test_a_call_is_refused_when_the_name_of_its_host_is_not_resolved_in_time(
    kind: str, call_request: Callable[..., CallRequest]
) -> None:
    connected = provider(kind, 1, "carrier.example", Egress(resolve=no_answer), timeout_seconds=0.05)
    request = replace(call_request(now()), connection=CONNECTIONS.get(kind, {}))
    try:
        placed, health, link = await connected.place(request), await connected.health(), await first_link(connected)
    finally:
        await connected.close()
    assert placed in [Refused(cause, CauseClass.INFRASTRUCTURE) for cause in ("network_unreachable", "timed_out")]
    assert health
    assert link or kind in ("http", "twilio")


async def test_the_address_that_was_checked_is_connected_to_and_not_the_name() -> None:
    opened: list[str] = []

    async def open_at(address: str) -> None:
        opened.append(address)

    await Egress.to(["127.0.0.0/8"], answering("127.0.0.9")).connect("carrier.example", 1, 5, open_at)
    assert opened == ["127.0.0.9"]


async def test_an_address_is_resolved_to_itself() -> None:
    assert await resolve_host("127.0.0.9", 1) == ["127.0.0.9"]


async def test_connecting_takes_no_longer_than_it_may() -> None:
    async def never(_: str) -> None:
        await asyncio.Event().wait()

    async def connect(open_at: Callable[[str], Awaitable[None]]) -> None:
        await Egress.to(["127.0.0.0/8"]).connect("127.0.0.1", 1, 0.01, open_at)

    with pytest.raises(TimeoutError):
        await connect(never)
