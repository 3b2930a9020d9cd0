"""The fields of a batch on the command line, the same in every command that sets them.

Each can be given as an option, as in --end-time 17:00, or as FIELD=VALUE, as in end_time=17:00; --options takes a JSON
object of any. A list may be written with commas: working_days=1,2,3.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

from dialer.cli.options import FieldValues, parse_fields
from dialer.domain.rotation_strategy import RotationStrategy

LISTS = ("working_days", "excluded_dates", "labels", "phone_number_ids")


def _options(
    field_values: FieldValues = None,
    timezone: Annotated[str | None, typer.Option(help="Time zone of the window (IANA).  [default: UTC]")] = None,
    start_time: Annotated[str | None, typer.Option(help="HH:MM.  [default: start of the day]")] = None,
    end_time: Annotated[str | None, typer.Option(help="HH:MM.  [default: end of the day]")] = None,
    working_days: Annotated[str | None, typer.Option(help="1 = Monday.  [default: 1,2,3,4,5]")] = None,
    scheduled_at: Annotated[str | None, typer.Option(help="Start then (ISO 8601).  [default: now]")] = None,
    max_concurrent_calls: Annotated[int | None, typer.Option(help="1 to 100.  [default: 10]")] = None,
    max_calls_per_day: Annotated[
        int | None, typer.Option(help="At most so many in a day.  [default: no limit]")
    ] = None,
    max_retry_attempts: Annotated[int | None, typer.Option(help="0 to 3.  [default: 0, no retries]")] = None,
    phone_rotation_strategy: Annotated[
        RotationStrategy | None, typer.Option(help="Which number calls.  [default: random]")
    ] = None,
    default_region: Annotated[str | None, typer.Option(help="Country of national numbers, as in DE.")] = None,
    options: Annotated[str | None, typer.Option(help="Any other field of a batch, as a JSON object.")] = None,
) -> None:
    """Declare the options; `takes_batch_fields` adds them to a command."""


def takes_batch_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a batch's fields; it gets those that are set as its argument `fields`."""
    ours = inspect.signature(_options, eval_str=True).parameters
    own = [parameter for parameter in inspect.signature(command, eval_str=True).parameters.values()
           if parameter.name != "fields"]  # fmt: skip

    @wraps(command)
    def with_fields(**values: Any) -> None:
        given = {name: values.pop(name) for name in ours}
        command(**values, fields=_fields(given))

    arguments = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
    rest = [parameter for parameter in own if parameter.default is not inspect.Parameter.empty]
    parameters = [*arguments, *ours.values(), *rest]
    with_fields.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_fields.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_fields


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Join what was given as options, as FIELD=VALUE and as JSON."""
    options = {name: value for name, value in given.items() if name not in ("field_values", "options")}
    fields = {name: value for name, value in options.items() if value is not None}
    fields |= parse_fields(given["field_values"]) | _json_object(given["options"])
    for name in LISTS:
        if isinstance(fields.get(name), str | int):
            fields[name] = [_number(part) for part in str(fields[name]).split(",") if part.strip()]
    return fields


def of_new_batch(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add what follows from the fields of a new batch: a start time schedules it, and retries are made."""
    implied: dict[str, Any] = {"schedule_type": "scheduled"} if fields.get("scheduled_at") else {}
    return implied | ({"retry_failed": True} if fields.get("max_retry_attempts") else {}) | dict(fields)


def _number(text: str) -> int | str:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() else text


def _json_object(text: str | None) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter("must be a JSON object", param_hint="--options")
    return value
