"""CPU time and memory of processes with their descendants, from /proc. Linux only: elsewhere nothing is returned."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024
# The first word of a process's name, where that is not its kind.
KINDS = {"simulator": "network"}


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds by kind of process, those of ended descendants included."""
    return _by_kind(pids, _ticks, 1 / TICKS_PER_SECOND)


def shared_out_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the memory by kind of process, each shared page divided by the number of its users (PSS)."""
    return _by_kind(pids, lambda pid: _kilobytes(pid, "smaps_rollup", "Pss:"), 1024 / MIB)


def resident_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the memory by kind of process, shared pages counted in each of its users (RSS)."""
    return _by_kind(pids, lambda pid: _kilobytes(pid, "status", "VmRSS:"), 1024 / MIB)


def peak_resident_mib(pid: int) -> float:
    """Return the most memory that a process has had since it started or since the last call of this function."""
    peak = _kilobytes(pid, "status", "VmHWM:") * 1024 / MIB
    (PROC / str(pid) / "clear_refs").write_text("5")
    return peak


def kind_of(name: str) -> str:
    """Return the kind of a process: `worker` of `worker-2`."""
    first = name.partition("-")[0]
    return KINDS.get(first, first)


def _by_kind(pids: Mapping[str, int], measure: Callable[[int], int], unit: float) -> dict[str, float]:
    if not PROC.exists():
        return {}
    children, totals = _children(), dict.fromkeys(map(kind_of, pids), 0.0)
    for name, pid in pids.items():
        totals[kind_of(name)] += unit * sum(_or_zero(measure, member) for member in _family(pid, children))
    return totals


def _children() -> Mapping[int, list[int]]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            children[_or_zero(_parent, int(entry.name))].append(int(entry.name))
    return children


def _family(pid: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _family(child, children)


def _or_zero(measure: Callable[[int], int], pid: int) -> int:
    """Measure a process; 0: it has ended meanwhile."""
    try:
        return measure(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _ticks(pid: int) -> int:
    """Return user and system time, also of children that have ended and were waited for."""
    return sum(map(int, _stat(pid)[11:15]))


def _kilobytes(pid: int, file: str, field: str) -> int:
    text = (PROC / str(pid) / file).read_text()
    return int(text.partition(field)[2].split()[0]) if field in text else 0


def _stat(pid: int) -> list[str]:
    """Return the fields after the name of the program, which may contain spaces; the first is the state."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
