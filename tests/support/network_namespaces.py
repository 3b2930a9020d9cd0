"""Network namespaces, each joined to this machine by a veth pair that can be set down. Needs root and iproute2."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def namespaces_work() -> bool:
    """Whether this user can create network namespaces."""
    ip = shutil.which("ip")
    if ip is None or os.geteuid() != 0:
        return False
    name = f"dialer-probe-{os.getpid()}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, check=False).returncode == 0
    subprocess.run([ip, "netns", "del", name], capture_output=True, check=False)
    return made


@contextmanager
def namespace(number: int) -> Iterator[tuple[str, str, str]]:
    """Create a network namespace; yield its name, our end of the veth pair, and our address there."""
    name, ours, theirs = f"dialer-{number}", f"dl{number}a", f"dl{number}b"
    address = f"10.213.{number}.1"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("address", "add", f"{address}/24", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "address", "add", f"10.213.{number}.2/24", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        ip("-n", name, "route", "add", "default", "via", address)
        yield name, ours, address
    finally:
        ip("netns", "del", name)
