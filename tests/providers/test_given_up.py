"""What was given up is never delivered later: the kernel sends nothing more once an answer is overdue (P1)."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dialer.providers.base import Unclear
from support.freeswitch_recordings import frame
from support.networks.switch import wait_until
from support.trunk_configs import NETWORKS, large_request, provider

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's list of connections from /proc")

TESTS = str(Path(__file__).parents[1])
LONG_SECONDS = 15.0
# The three that speak HTTP have one client in common.
CLIENTS = ("freeswitch", "http")


class DeafPeer:
    """A server with a small buffer, which reads nothing of a request until it is told to."""

    def __init__(self, name: str) -> None:
        self._greets = name == "freeswitch"
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._loop = asyncio.get_running_loop()

    async def is_asked(self) -> None:
        """Take the connection, and wait until the rest of a request waits in the kernel of the one who asks."""
        self._connection, _ = await self._loop.sock_accept(self._listening)
        if self._greets:
            await self._greet()
        await wait_until(lambda: self.unsent_bytes() > 0)

    def unsent_bytes(self) -> int:
        """How much waits at the other end of the connection, as its kernel has it; 0: the connection is over too."""
        _, port = self._connection.getpeername()
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        waiting = [queues.split(":")[0] for _, local, _, _, queues, *_ in sockets if local.endswith(f":{port:04X}")]
        return sum(int(size, 16) for size in waiting)

    async def read_to_the_end(self) -> str:
        """Read on; say how the connection ends."""
        try:
            while await self._loop.sock_recv(self._connection, 65_536):
                pass
        except ConnectionResetError:
            return "reset"
        finally:
            self._connection.close()
            self._listening.close()
        return "whole"

    async def _greet(self) -> None:
        await self._loop.sock_sendall(self._connection, frame("auth/request"))
        for _ in ("auth", "event"):
            while not (await self._loop.sock_recv(self._connection, 65_536)).endswith(b"\n\n"):
                pass
            await self._loop.sock_sendall(self._connection, frame("command/reply", **{"Reply-Text": "+OK"}))


@pytest.mark.parametrize("name", NETWORKS)
async def test_a_request_that_was_given_up_does_not_arrive_when_the_network_reads_on(name: str) -> None:
    peer = DeafPeer(name)
    connected = provider(name, peer.port, timeout_seconds=2.0)
    placing = asyncio.create_task(connected.place(large_request(name)))
    await peer.is_asked()
    assert isinstance(await placing, Unclear)
    assert await peer.read_to_the_end() == "reset"
    await connected.close()


@pytest.mark.parametrize("name", NETWORKS)
async def test_a_request_whose_task_was_cancelled_does_not_arrive(name: str) -> None:
    peer = DeafPeer(name)
    connected = provider(name, peer.port, timeout_seconds=LONG_SECONDS)
    placing = asyncio.create_task(connected.place(large_request(name)))
    await peer.is_asked()
    placing.cancel()
    await asyncio.wait([placing])
    assert await peer.read_to_the_end() == "reset"
    await connected.close()


@asynccontextmanager
async def worker(name: str, peer: DeafPeer, timeout_seconds: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that places one request, and has sent what it could of it."""
    place = f"place({name!r}, {peer.port}, {timeout_seconds})"
    script = f"import asyncio; from support.trunk_configs import place; asyncio.run({place})"
    paths = [TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=environment)
    try:
        await peer.is_asked()
        yield process
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_request_of_a_killed_process_does_not_arrive(name: str) -> None:
    peer = DeafPeer(name)
    async with worker(name, peer, LONG_SECONDS):
        pass
    assert await peer.read_to_the_end() == "reset"


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_request_of_a_process_that_stands_still_is_given_up_by_the_kernel(name: str) -> None:
    peer = DeafPeer(name)
    async with worker(name, peer, 3.0) as process:
        process.send_signal(signal.SIGSTOP)
        await wait_until(lambda: peer.unsent_bytes() == 0)
        assert await peer.read_to_the_end() == "reset"
