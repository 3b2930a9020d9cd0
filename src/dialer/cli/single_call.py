"""`dialer trunks test`: place one call and print each of its events as a line."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from dialer import wiring
from dialer.cli.target import load_settings_and_log, with_local_servers
from dialer.domain.call import CallEvent
from dialer.providers.base import Placement
from dialer.service import single_call


def call_once(
    workspace: str,
    number: str,
    trunk: str,
    from_number: str,
    agent: str,
    seconds: float,
    data_dir: Path | None,
    confirm: Callable[[], None],
    *,
    as_json: bool,
) -> bool:
    """Place the call; return whether it was answered. `confirm` may raise to abort it, after all checks."""
    settings = with_local_servers(load_settings_and_log(data_dir))
    context = wiring.context_of(settings)

    def print_update(update: Placement | CallEvent) -> None:
        facts = _known_fields(update)
        typer.echo(json.dumps(facts) if as_json else "  ".join(f"{name}={value}" for name, value in facts.items()))

    async def place() -> bool:
        provider = wiring.connecting(settings)(call.trunk)
        try:
            return await single_call.place(context, provider, call, seconds, wiring.chance(), print_update)
        finally:
            await provider.close()

    try:
        call = single_call.prepare(context, workspace, number, trunk, from_number, agent)
        confirm()
        return asyncio.run(place())
    finally:
        wiring.close(context)


def _known_fields(update: Placement | CallEvent) -> dict[str, Any]:
    """Return every field of a network's answer or event that has a value."""
    values = {field.name: getattr(update, field.name) for field in fields(update)}
    if facts := values.pop("facts", None):
        values |= {field.name: getattr(facts, field.name) for field in fields(facts)}
    event = values.pop("kind", type(update).__name__.lower())
    return {"event": str(event)} | {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in values.items()
        if value is not None and name not in ("key", "attempt_id")
    }
