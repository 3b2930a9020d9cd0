"""The network loses all packets for a while: a request that timed out meanwhile is never delivered later (P1).

The kernel goes on sending what a closed connection holds, so that a call would ring when its contact has been given to
another attempt. The network's journal shows which requests arrived.
"""

import asyncio
import fcntl
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from dialer.providers.base import Placed, Provider, Unclear
from support.cluster import calls_of
from support.network_namespaces import namespace, namespaces_work
from support.networks.process import NetworkProcess
from support.networks.switch import wait_until
from support.trunk_configs import NETWORKS, large_request, provider

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(
        sys.platform != "linux" or not namespaces_work(), reason="network namespaces need root, and iproute2"
    ),
]

PROFILE = {"outcomes": {"answered": 1}, "talk_seconds": {"mean": 600, "min": 600, "max": 600}}
# The fake Twilio uses HTTPS, as the real one; its certificate is for the address of namespace 6.
SCHEMES = {"twilio": ("https",)}
FIRST_NUMBER = 3


@pytest.mark.parametrize("name", NETWORKS)
async def test_a_request_that_was_given_up_in_a_black_hole_never_arrives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = FIRST_NUMBER + NETWORKS.index(name)
    host = f"10.213.{number}.2"
    with namespace(number) as (inside, cable, _):
        # Without this the kernel queues packets for up to three seconds while it resolves the address (ARP).
        address = output("ip", "netns", "exec", inside, "cat", f"/sys/class/net/dl{number}b/address")
        output("ip", "neighbour", "replace", host, "lladdr", address, "dev", cable, "nud", "permanent")
        carrier = NetworkProcess(name, tmp_path, PROFILE, ("ip", "netns", "exec", inside), host)
        for variable, value in carrier.module.ENVIRONMENT.items():
            monkeypatch.setenv(variable, value)

        def link(state: str) -> None:
            output("ip", "-n", inside, "link", "set", f"dl{number}b", state)

        try:
            trunk = provider(name, carrier.port, *SCHEMES.get(name, ()), host=host, timeout_seconds=3)
            try:
                await lost_and_never_delivered(trunk, carrier, host, link)
            finally:
                await trunk.close()
        finally:
            carrier.kill()


async def lost_and_never_delivered(
    trunk: Provider, carrier: NetworkProcess, host: str, link: Callable[[str], None]
) -> None:
    clock = asyncio.get_running_loop().time

    async def answers() -> bool:
        return await trunk.health() is None

    await wait_until(answers, 30)
    # The connection is kept, so that the next request is sent on it at once.
    first, lost, last = (large_request(carrier.name) for _ in range(3))
    assert isinstance(await trunk.place(first), Placed)
    with socket.create_connection((host, carrier.port)) as control:
        link("down")
        lost_at = clock()
        placing = asyncio.create_task(trunk.place(lost))
        control.sendall(b"\n")
        assert isinstance(await placing, Unclear)
        link("up")
        up_at = clock()
        # Data that was not discarded does arrive: the kernel retransmits it.
        await wait_until(lambda: unacknowledged(control) == 0, 30)
    # The interval between retransmissions doubles: the next one would come within as long as the outage was.
    await wait_until(lambda: clock() > up_at + (up_at - lost_at), 30)
    assert isinstance(await trunk.place(last), Placed)
    assert [call.attempt_id for call in calls_of([carrier.journal])] == [first.attempt_id, last.attempt_id]


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def unacknowledged(connection: socket.socket) -> int:
    """Return how many sent bytes the peer has not acknowledged."""
    (count,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))
    return int(count)
