"""Rigs: a provider with its network, opened for a config in the words of the simulated network.

To have another provider tried by `providers/test_conformance.py`, add a module here with a list `RIGS` of functions
that open one.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId
from dialer.providers.base import Provider


class Rig(Protocol):
    """A provider and its network."""

    @property
    def provider(self) -> Provider: ...

    @property
    def received(self) -> Sequence[CallEvent]:
        """The reports handed over so far."""

    @property
    def keeps_records(self) -> bool:
        """Say whether the network can tell of a call that is over, and that one never was; else it is NotFoundNow."""

    @property
    def knows_place_by(self) -> bool:
        """Say whether the network reads `place_by`; else only the provider does."""

    @property
    def tells_rate(self) -> bool:
        """Say whether the network has a word for: too many calls in this second."""

    @property
    def secrets(self) -> Sequence[str]:
        """What must not be seen in any log or error."""

    @property
    def port(self) -> int | None:
        """Where the network listens; None: it is in this process."""

    def connect(self, port: int) -> Provider:
        """Make another provider of the same trunk, whose network is reached at this port."""

    def now(self) -> DateTime: ...

    async def until(self, enough: Callable[[], bool]) -> None:
        """Let time pass until this holds; fail when it never does."""

    def started(self) -> Sequence[int]:
        """When each call was placed, by the network's clock, in microseconds."""

    def existed(self) -> Sequence[AttemptId]:
        """The attempts whose calls truly existed, one entry a call."""

    def called(self) -> Sequence[str]:
        """The numbers that were called, one entry a call."""

    def evaluated(self) -> Sequence[str]:
        """All that came with the calls and that the network may evaluate: what a dialplan or a script there could paste
        into a command. Nothing, where the network hands on JSON as it is.
        """

    @property
    def is_switch(self) -> bool:
        """Say whether answered calls go to a place on the network's own switch."""

    def cut_next_answer(self) -> bool:
        """Have the network break the connection in the middle of its answer to the next placement; False: it cannot."""

    async def go_away(self) -> bool:
        """Stop the network, so that nothing listens where it was; False: it cannot."""


OpenRig = Callable[[dict[str, Any]], AbstractAsyncContextManager[Rig]]


def all_rigs() -> list[OpenRig]:
    """Every rig of every module here."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return [rig for module in modules for rig in getattr(module, "RIGS", ())]
