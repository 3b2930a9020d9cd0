"""`dialer trunks test`: one call, and each of its events as a line."""

import asyncio
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from dialer import wiring
from dialer.cli.target import configured, located
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
    *,
    as_json: bool,
) -> bool:
    """Make the call; say whether it was answered."""
    settings = located(configured(data_dir))
    context = wiring.context_of(settings)

    def tell(said: Placement | CallEvent) -> None:
        told = _told(said)
        typer.echo(json.dumps(told) if as_json else "  ".join(f"{name}={value}" for name, value in told.items()))

    async def call() -> bool:
        provider = wiring.connecting(settings)(prepared.trunk)
        try:
            return await single_call.make(context, provider, prepared, seconds, wiring.chance(), tell)
        finally:
            await provider.close()

    try:
        prepared = single_call.prepare(context, workspace, number, trunk, from_number, agent)
        return asyncio.run(call())
    finally:
        wiring.close(context)


def _told(said: Placement | CallEvent) -> dict[str, Any]:
    """Write all that is known: whatever the network has said is a field of it."""
    given = {field.name: getattr(said, field.name) for field in fields(said)}
    if facts := given.pop("facts", None):
        given |= {field.name: getattr(facts, field.name) for field in fields(facts)}
    what = given.pop("kind", type(said).__name__.lower())
    return {"event": str(what)} | {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in given.items()
        if value is not None and name not in ("key", "attempt_id")
    }
