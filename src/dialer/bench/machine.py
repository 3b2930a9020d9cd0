"""What figures depend on: the machine, and the versions of what runs on it."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import psycopg
import redis

from dialer.bench.engine import driver_url
from dialer.bench.figure import Row
from dialer.embedded import Servers

GIB = 1024**3


def describe(servers: Servers) -> Row:
    """Return the machine, the versions and the commit, where it is known."""
    with psycopg.connect(driver_url(servers.database_url)) as connection:
        postgres = connection.info.parameter_status("server_version")
    with redis.Redis.from_url(servers.redis_url) as client:
        server = client.info("server")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgres": postgres,
        "redis": f"{server.get('server_name', 'redis')} {server.get('valkey_version', server['redis_version'])}",
        "dialer": version("dialer-engine"),
        "commit": _commit(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return models[0].partition(":")[2].strip() if models else platform.processor()


def _commit() -> str | None:
    """Return the commit of the repository that this file belongs to; None: it was installed as a package."""
    file = Path(__file__)
    is_tracked, described = ("ls-files", "--error-unmatch", file.name), ("describe", "--always", "--dirty")
    try:
        for arguments in (is_tracked, described):
            command = ["git", "-C", str(file.parent), *arguments]
            found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
