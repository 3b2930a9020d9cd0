"""Rigs: a provider with its network, opened for a config in the format of the simulated network.

To run `providers/test_conformance.py` on another provider, add a module here with a list `RIGS` of functions that open
a rig.
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
from dialer.providers.simulator import SimulatedNetwork


class Rig(Protocol):
    """A provider and its network."""

    @property
    def provider(self) -> Provider: ...

    @property
    def received(self) -> Sequence[CallEvent]:
        """The reports handed over so far."""

    @property
    def keeps_records(self) -> bool:
        """Say whether the network keeps records of ended calls; otherwise a look-up of one is NotFoundNow."""

    @property
    def knows_place_by(self) -> bool:
        """Say whether the network reads `place_by`; otherwise only the provider does."""

    @property
    def tells_rate(self) -> bool:
        """Say whether the network has an answer for too many calls in one second."""

    @property
    def secrets(self) -> Sequence[str]:
        """What must not appear in any log or error."""

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
        """The attempts whose calls really existed, one entry per call."""

    def called(self) -> Sequence[str]:
        """The numbers that were called, one entry per call."""

    def evaluated(self) -> Sequence[str]:
        """All texts of the calls that the network may evaluate, as a dialplan that pastes them into a command. None, if
        the network passes JSON on unchanged.
        """

    @property
    def is_switch(self) -> bool:
        """Say whether answered calls go to a place on the network's own switch."""

    def cut_next_answer(self) -> bool:
        """Let the network close the connection in the middle of its next answer to a placement; False: it cannot."""

    async def go_away(self) -> bool:
        """Stop the network, so that nothing listens on its port; False: it cannot."""


class CallLog:
    """What the simulated network behind a rig knows of the calls placed: as `Rig` wants it."""

    network: SimulatedNetwork

    def started(self) -> Sequence[int]:
        return [call.placed for call in self.network.log]

    def existed(self) -> Sequence[AttemptId]:
        return [call.attempt_id for call in self.network.log]

    def called(self) -> Sequence[str]:
        return [call.to_number for call in self.network.log]


OpenRig = Callable[[dict[str, Any]], AbstractAsyncContextManager[Rig]]


def all_rigs() -> list[OpenRig]:
    """Every rig of every module here."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return [rig for module in modules for rig in getattr(module, "RIGS", ())]
