"""How a simulated network behaves, read from a trunk's `config`.

In: a JSON object typed by people or sent by a client. Out: a frozen `NetworkProfile`, or `InvalidInput` that names
every wrong field at once. No time and no chance here: the profile only says how chance will be shaped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from dialer.domain.outcomes import Outcome
from dialer.errors import FieldError, InvalidInput
from dialer.providers.simulator.fields import Fields

DRAWN_OUTCOMES = (
    Outcome.ANSWERED,
    Outcome.MACHINE,
    Outcome.BUSY,
    Outcome.NO_ANSWER,
    Outcome.REJECTED,
    Outcome.INVALID_NUMBER,
    Outcome.FAILED,
)
REALISTIC_MIX = (0.38, 0.22, 0.06, 0.26, 0.04, 0.02, 0.02)
LONGEST_SECONDS = 1_000_000.0
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Durations:
    """`min` plus an exponential share, cut off at `max`; `mean` is the mean before the cut."""

    mean: float
    min: float
    max: float

    @classmethod
    def parse(cls, fields: Fields, default: "Durations") -> Self:
        mean = fields.number("mean", default.mean, high=LONGEST_SECONDS)
        low = fields.number("min", min(default.min, mean), high=LONGEST_SECONDS)
        high = fields.number("max", max(default.max, mean), high=LONGEST_SECONDS)
        if not low <= mean <= high:
            fields.refuse("mean", "must lie between min and max")
        fields.finish()
        return cls(mean, low, high)

    def to_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "min": self.min, "max": self.max}


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities from 0 to 1. The first four are drawn for each report; of the others one at most befalls a request.

    `lost`: the report never comes. `late`: it comes `late_seconds` later. `repeated`: it comes twice. `reordered`: it
    comes right after the report that should follow it. `timeout_before`, `timeout_after`: the network does not answer
    the placement, and the call does not exist, or does. `refused`, `server_error`: the network refuses the placement.
    """

    lost: float = 0.0
    late: float = 0.0
    repeated: float = 0.0
    reordered: float = 0.0
    timeout_before: float = 0.0
    timeout_after: float = 0.0
    refused: float = 0.0
    server_error: float = 0.0
    late_seconds: float = 120.0

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        names = [name for name in cls.__slots__ if name != "late_seconds"]
        chances = {name: fields.number(name, 0.0, high=1.0) for name in names}
        faults = cls(**chances, late_seconds=fields.number("late_seconds", 120.0, high=LONGEST_SECONDS))
        if sum(faults.of_placement()) > 1.0 + ROUNDING:
            fields.refuse("", "timeout_before, timeout_after, refused and server_error must not exceed 1 together")
        fields.finish()
        return faults

    def of_placement(self) -> tuple[float, float, float, float]:
        return (self.timeout_before, self.timeout_after, self.refused, self.server_error)

    def to_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """One simulated network. `outcomes` are weights in the order of `DRAWN_OUTCOMES`.

    All durations, the ring timeout of a request among them, are divided by `speed`; moments (`place_by`, `ring_by`),
    `calls_per_second` and `timeout_seconds`, after which a client gives up on an answer, are not.
    """

    url: str | None = None
    seed: int = 0
    speed: float = 1.0
    timeout_seconds: float = 5.0
    outcomes: tuple[float, ...] = REALISTIC_MIX
    setup_seconds: Durations = Durations(mean=0.6, min=0.1, max=3.0)
    ring_seconds: Durations = Durations(mean=8.0, min=1.0, max=25.0)
    talk_seconds: Durations = Durations(mean=45.0, min=2.0, max=600.0)
    faults: Faults = field(default_factory=Faults)
    max_concurrent_calls: int | None = None
    calls_per_second: int | None = None

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a trunk's config; raises InvalidInput with every wrong or unknown field."""
        errors: list[FieldError] = []
        fields = Fields(config, "", errors)
        profile = cls._read(fields)
        fields.finish()
        if errors:
            raise InvalidInput(errors)
        return profile

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        usual = NetworkProfile()
        return cls(
            url=_url(fields),
            seed=fields.whole("seed", 0, low=-(2**63)) or 0,
            speed=fields.number("speed", 1.0, low=1e-3, high=1e6),
            timeout_seconds=fields.number("timeout_seconds", 5.0, low=1e-3, high=3600.0),
            outcomes=_weights(fields),
            setup_seconds=Durations.parse(fields.section("setup_seconds"), usual.setup_seconds),
            ring_seconds=Durations.parse(fields.section("ring_seconds"), usual.ring_seconds),
            talk_seconds=Durations.parse(fields.section("talk_seconds"), usual.talk_seconds),
            faults=Faults.parse(fields.section("faults")),
            max_concurrent_calls=fields.whole("max_concurrent_calls", None),
            calls_per_second=fields.whole("calls_per_second", None),
        )

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of `url`; raises InvalidInput when there is none."""
        if self.url is None:
            raise InvalidInput.of("url", "is needed to reach a network in another process")
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def to_config(self) -> dict[str, Any]:
        """Return the config that parses to this profile."""
        config = {
            "url": self.url,
            "seed": self.seed,
            "speed": self.speed,
            "timeout_seconds": self.timeout_seconds,
            "outcomes": {str(name): weight for name, weight in zip(DRAWN_OUTCOMES, self.outcomes, strict=True)},
            "setup_seconds": self.setup_seconds.to_config(),
            "ring_seconds": self.ring_seconds.to_config(),
            "talk_seconds": self.talk_seconds.to_config(),
            "faults": self.faults.to_config(),
            "max_concurrent_calls": self.max_concurrent_calls,
            "calls_per_second": self.calls_per_second,
        }
        return {name: value for name, value in config.items() if value is not None}


def _weights(fields: Fields) -> tuple[float, ...]:
    if not fields.has("outcomes"):
        return REALISTIC_MIX
    section = fields.section("outcomes")
    weights = tuple(section.number(name, 0.0) for name in DRAWN_OUTCOMES)
    section.finish()
    if sum(weights) <= 0:
        fields.refuse("outcomes", "needs at least one weight above 0")
    return weights


def _url(fields: Fields) -> str | None:
    url = fields.text("url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        complete = parts.scheme == "tcp" and parts.hostname and parts.port and not (parts.path or parts.query)
    except ValueError:
        complete = False
    if not complete:
        fields.refuse("url", "must look like tcp://127.0.0.1:5099")
    return url
