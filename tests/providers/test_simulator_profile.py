"""The config of a trunk to a simulated network."""

from typing import Any

import pytest

from dialer.domain.outcomes import Outcome
from dialer.errors import InvalidInput
from dialer.providers.simulator import NetworkProfile
from dialer.providers.simulator.profile import DRAWN_OUTCOMES, Durations

FULL = {
    "url": "tcp://127.0.0.1:5099",
    "seed": -3,
    "speed": 20,
    "timeout_seconds": 0.5,
    "outcomes": {"answered": 3, "busy": 1},
    "setup_seconds": {"mean": 1, "min": 0, "max": 2},
    "ring_seconds": {"mean": 5},
    "talk_seconds": {"mean": 60, "min": 10, "max": 90},
    "faults": {"lost": 0.1, "late": 0.2, "late_seconds": 7, "timeout_after": 1},
    "max_concurrent_calls": 5,
    "calls_per_second": 2,
}


def test_an_empty_config_is_a_realistic_network_without_faults() -> None:
    profile = NetworkProfile.parse({})
    assert profile == NetworkProfile()
    assert sum(profile.outcomes.weights) == pytest.approx(1.0)
    assert sum(profile.faults.of_placement()) == 0.0


def test_every_field_is_read() -> None:
    profile = NetworkProfile.parse(FULL)
    assert profile.address == ("127.0.0.1", 5099)
    assert dict(zip(DRAWN_OUTCOMES, profile.outcomes.weights, strict=True))[Outcome.ANSWERED] == 3.0
    assert profile.talk_seconds == Durations(mean=60.0, min=10.0, max=90.0)
    assert (profile.faults.lost, profile.faults.late_seconds, profile.faults.timeout_after) == (0.1, 7.0, 1.0)
    assert (profile.seed, profile.speed, profile.max_concurrent_calls, profile.calls_per_second) == (-3, 20.0, 5, 2)


@pytest.mark.parametrize("config", [{}, FULL])
def test_a_profile_survives_the_way_to_the_server(config: dict[str, Any]) -> None:
    profile = NetworkProfile.parse(config)
    assert NetworkProfile.parse(profile.to_config()) == profile


def test_a_mean_outside_the_usual_bounds_moves_them() -> None:
    assert NetworkProfile.parse({"ring_seconds": {"mean": 0}}).ring_seconds == Durations(mean=0.0, min=0.0, max=25.0)
    assert NetworkProfile.parse({"ring_seconds": {"mean": 300}}).ring_seconds.max == 300.0


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"sped": 2}, "sped"),
        ({"speed": 0}, "speed"),
        ({"speed": True}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"speed": 10**400}, "speed"),
        ({"seed": "one"}, "seed"),
        ({"seed": None}, "seed"),
        ({"url": 5}, "url"),
        ({"url": "http://127.0.0.1:5099"}, "url"),
        ({"url": "tcp://127.0.0.1"}, "url"),
        ({"url": "tcp://127.0.0.1:99999"}, "url"),
        ({"outcomes": {"answered": -1}}, "outcomes.answered"),
        ({"outcomes": {"unknown": 1}}, "outcomes.unknown"),
        ({"outcomes": {}}, "outcomes"),
        ({"ring_seconds": 5}, "ring_seconds"),
        ({"ring_seconds": {"mean": 5, "max": 4}}, "ring_seconds.mean"),
        ({"talk_seconds": {"median": 5}}, "talk_seconds.median"),
        ({"faults": {"lost": 1.1}}, "faults.lost"),
        ({"faults": {"lots": 1}}, "faults.lots"),
        ({"faults": {"refused": 0.6, "server_error": 0.5}}, "faults"),
        ({"max_concurrent_calls": 0}, "max_concurrent_calls"),
        ({"max_concurrent_calls": None}, "max_concurrent_calls"),
        ({"calls_per_second": 1.5}, "calls_per_second"),
    ],
)
def test_a_wrong_field_is_named(config: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        NetworkProfile.parse(config)
    assert field in {error.field for error in refused.value.errors}


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        NetworkProfile.parse({"speed": -1, "faults": {"late": 2, "x": 0}, "y": 0})
    assert [error.field for error in refused.value.errors] == ["speed", "faults.late", "faults.x", "y"]


def test_a_network_in_another_process_needs_an_address() -> None:
    with pytest.raises(InvalidInput, match="url"):
        _ = NetworkProfile().address
