"""Workspaces and their calling rules."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from dialer.domain.calling_rules import CallingRules
from dialer.domain.ids import WorkspaceId
from dialer.store.database import rows, run

_COLUMNS = "name, countries, premium_rate, person_limits, timezone, keep_batches_days, created_at"


def listed(connection: Connection) -> Sequence[Row[Any]]:
    """Read all workspaces by name: what they are set to."""
    return rows(connection, f"SELECT {_COLUMNS} FROM workspaces ORDER BY name")


def read(connection: Connection, workspace_id: WorkspaceId) -> Row[Any]:
    """Read one workspace, as `listed`."""
    (row,) = rows(connection, f"SELECT {_COLUMNS} FROM workspaces WHERE id = :id", id=workspace_id)
    return row


def lock(connection: Connection, workspace_id: WorkspaceId) -> Row[Any]:
    """Read one workspace, as `listed`, and keep it from being changed until this transaction ends."""
    (row,) = rows(connection, f"SELECT {_COLUMNS} FROM workspaces WHERE id = :id FOR NO KEY UPDATE", id=workspace_id)
    return row


def set_values(connection: Connection, workspace_id: WorkspaceId, timezone: str, keep_batches_days: int | None) -> None:
    """Write the time zone of batches that are created without one, and how many days batches that are over are kept."""
    run(
        connection,
        "UPDATE workspaces SET timezone = :timezone, keep_batches_days = :days WHERE id = :id",
        timezone=timezone,
        days=keep_batches_days,
        id=workspace_id,
    )


def rules(connection: Connection, workspace_id: WorkspaceId) -> CallingRules:
    """Read what a workspace may call."""
    (row,) = rows(connection, "SELECT countries, premium_rate FROM workspaces WHERE id = :id", id=workspace_id)
    return rules_of(row)


def rules_of(row: Row[Any]) -> CallingRules:
    """Make the rules from a row with the columns `countries` and `premium_rate`."""
    return CallingRules(None if row.countries is None else frozenset(row.countries), row.premium_rate)


def set_rules(connection: Connection, name: str, new: CallingRules) -> bool:
    """Write what the workspace of this name may call; False: there is none."""
    changed = run(
        connection,
        "UPDATE workspaces SET countries = CAST(:countries AS text[]), premium_rate = :premium WHERE name = :name",
        countries=None if new.countries is None else sorted(new.countries),
        premium=new.premium_rate,
        name=name,
    )
    return changed == 1


def keep_batches(connection: Connection, name: str, days: int | None) -> bool:
    """Write how long the workspace of this name keeps batches that are over; None: as the installation. False: none."""
    changed = run(
        connection, "UPDATE workspaces SET keep_batches_days = :days WHERE name = :name", days=days, name=name
    )
    return changed == 1


def set_person_limits(connection: Connection, workspace_id: WorkspaceId, limits: Sequence[Mapping[str, int]]) -> None:
    """Write the limits of a workspace: at most so many `attempts` to a person within so many `hours`."""
    run(
        connection,
        "UPDATE workspaces SET person_limits = CAST(:limits AS jsonb) WHERE id = :id",
        limits=json.dumps(limits),
        id=workspace_id,
    )
