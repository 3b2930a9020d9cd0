"""The config of simulated trunks, which is also the profile of their network, and the agent's connection."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from dialer.domain.validation import wrong_field
from dialer.errors import InvalidInput
from dialer.providers.simulator.profile import (
    REALISTIC_MIX,
    RING,
    SETUP,
    TALK,
    Durations,
    Faults,
    OutcomeWeights,
    completed,
)
from dialer.providers.trunk_config import AgentConnection, TrunkConfig


def _given(value: int | None) -> int:
    if value is None:
        raise wrong_field("must be a whole number")
    return value


Limit = Annotated[int | None, Field(ge=1, le=2**63), AfterValidator(_given)]


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        complete = parts.scheme == "tcp" and parts.hostname and parts.port and not (parts.path or parts.query)
    except ValueError:
        complete = False
    if not complete:
        raise wrong_field("must look like tcp://127.0.0.1:5099")
    return url


class NetworkProfile(TrunkConfig):
    """One simulated network.

    All durations, the ring timeout of a request among them, are divided by `speed`; moments (`place_by`, `ring_by`),
    `calls_per_second` and `timeout_seconds`, after which a client gives up on an answer, are not.
    """

    url: Annotated[str, AfterValidator(_url)] | None = None
    seed: int = Field(default=0, ge=-(2**63), le=2**63)
    speed: float = Field(default=1.0, ge=1e-3, le=1e6, allow_inf_nan=False)
    timeout_seconds: float = Field(default=5.0, ge=1e-3, le=3600, allow_inf_nan=False)
    outcomes: OutcomeWeights = REALISTIC_MIX
    setup_seconds: Annotated[Durations, completed(SETUP)] = SETUP
    ring_seconds: Annotated[Durations, completed(RING)] = RING
    talk_seconds: Annotated[Durations, completed(TALK)] = TALK
    faults: Faults = Faults()
    max_concurrent_calls: Limit = None
    calls_per_second: Limit = None

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of `url`; raises InvalidInput when there is none."""
        if self.url is None:
            raise InvalidInput.of("url", "is needed to reach a network in another process")
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def to_config(self) -> dict[str, Any]:
        """Return the config that parses to this profile."""
        return self.model_dump(exclude_none=True)


class Nothing(AgentConnection):
    """All that is needed is in the trunk."""
