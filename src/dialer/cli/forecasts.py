"""Prints a forecast: when the batch ends, what it assumes, who is not reached, and which limit binds when."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

LATER = "not within a year"


def show_forecast(forecast: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a forecast as the API returns it."""
    typer.echo(json.dumps(forecast) if as_json else "\n".join(_lines(forecast)))


def _lines(forecast: Mapping[str, Any]) -> Iterator[str]:
    ends, assumed = forecast["ends_at"], forecast["assumed"]
    band = f", with 80 % between {ends['p10']} and {ends['p90'] or LATER}" if ends["p10"] else ""
    yield f"ends: {ends['p50'] or LATER}{band}"
    for name in ("answer_rate", "mean_talk_seconds", "mean_ring_seconds"):
        value = assumed[name]
        yield f"assumed {name}: {value['value']:.3g} ({value['source']}, {value['calls']} calls)"
    for day in forecast["attempts_by_day"]:
        yield f"attempts on {day['date']}: {day['p50']}"
    for reason in forecast["not_reached"]:
        yield f"not reached, {reason['code']}: {reason['count']}"
    for limit in forecast["binding"]:
        yield f"limit from {limit['from']} to {limit['to']}: {limit['code']}{_one_more(limit['one_more'])}"
    if measured := forecast["calibration"]:
        yield (
            f"earlier forecasts: {measured['within']:.0%} of {measured['batches']} true ends within the band, "
            f"p50 off by {measured['median_error_minutes']:g} minutes (median)"
        )


def _one_more(one_more: Mapping[str, Any] | None) -> str:
    if not one_more:
        return ""
    return f"; {one_more['setting']} {one_more['value']}: ends {one_more['ends_earlier_minutes']:g} minutes earlier"
