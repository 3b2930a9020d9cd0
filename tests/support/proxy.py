"""A TCP proxy in front of a server, in threads, which can cut its connections or stop forwarding."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from urllib.parse import urlsplit


class Proxy:
    """Forwards bytes between a free port and a server. `down` cuts connections; `swallow` stops forwarding."""

    def __init__(self, url: str, host: str = "127.0.0.1") -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 0)
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = parts._replace(
            netloc=parts.netloc.replace(f"{parts.hostname}:{parts.port}", f"{host}:{self.port}")
        ).geturl()
        self.is_down = False
        # Set when bytes have arrived that are not forwarded.
        self.has_swallowed = Event()
        self._passes = Event()
        self._passes.set()
        self._run(self._accept)

    def down(self) -> None:
        """Cut all connections, and refuse new ones."""
        self.is_down = True
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def swallow(self) -> None:
        """Keep all connections open and forward nothing, as a network that loses all packets."""
        self._passes.clear()

    def up(self) -> None:
        self.is_down = False
        self._passes.set()

    def close(self) -> None:
        self.down()
        self._passes.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            self._run(self._pass_on, client, server)
            self._run(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not self._passes.is_set():
                    self.has_swallowed.set()
                self._passes.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def _run(self, work: object, *arguments: socket.socket) -> None:
        Thread(target=work, args=arguments, daemon=True).start()  # type: ignore[arg-type]


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
