"""Trunks and the outbound numbers on them, as dispatch and the providers need them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pendulum import DateTime

from dialer.domain.ids import NumberId, TrunkId


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk as its provider needs it."""

    id: TrunkId  #: UUID version 7, made when the trunk is created.
    provider: str  #: Name of the provider plug-in that places its calls.
    config: Mapping[str, Any]  #: The settings of that provider; its plug-in knows their schema.
    workspace: str = ""  #: Name of its workspace, which decides the variables and networks it may use. "": none.
    name: str = field(default="", compare=False)  #: For messages to operators.


@dataclass(frozen=True, slots=True)
class OutboundNumber:
    """An outbound number with its own limits, those of its trunk, and the circuit breakers that apply to it."""

    id: NumberId  #: UUID version 7, made when the number is created.
    phone_number: str  #: The caller ID, in E.164.
    max_concurrent_calls: int | None  #: How many calls may use it at once (P2). None: no limit.
    max_calls_per_day: int | None  #: How many attempts may use it on one UTC day (P2). None: no cap.
    trunk: Trunk  #: The trunk that its calls leave on.
    trunk_max_concurrent_calls: int | None  #: How many calls its trunk may carry at once (P2). None: no limit.
    trunk_calls_per_second: float | None  #: How many calls may start on its trunk each second (P2). None: no limit.
    is_usable: bool  #: The number and its trunk are active.
    trunk_has_failed: bool = False  #: The last placement or call on the trunk failed.
    trunk_probe_at: DateTime | None = None  #: The trunk's breaker is open; one call probes it then. None: closed.
    trunk_is_heard: bool = True  #: A listener is connected to the trunk's network.
    version: str = ""  #: Since when its calls are counted toward its daily cap. "": it has none.
    agent_is_held: bool = False  #: The batch's agent has failed on this trunk.
    agent_probe_at: DateTime | None = None  #: When a call tries that agent again. None: after an operator's change.
