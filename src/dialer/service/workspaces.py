"""Workspaces and what they may call.

`list_all` and `limit` are only for the owner of the installation: the API does not use them.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dialer.domain.ids import WorkspaceId
from dialer.domain.phone import check_region
from dialer.errors import InvalidInput, NotFound, SettingsChanged
from dialer.service.batch_settings import Token
from dialer.service.fields import Changes, DaysKept, PersonLimits, Zone
from dialer.store import configuration, workspaces
from dialer.store.database import Database

ALL_COUNTRIES = "all"
NO_LIMIT = "none"
LIMITS = TypeAdapter(PersonLimits)


def list_all(db: Database) -> list[dict[str, Any]]:
    """Read all workspaces.

    Args:
        db: the database.

    Returns:
        Each workspace with what it may call; `countries` None: every country.
    """
    with db.begin() as connection:
        return [dict(row._mapping) for row in workspaces.listed(connection)]


def limit(
    db: Database,
    name: str,
    countries: Sequence[str] | None,
    premium_rate: bool | None,
    person_limits: Sequence[str] | None = None,
) -> None:
    """Change what a workspace may call. Applies to every call from now on, also of contacts that were loaded before.

    Args:
        db: the database.
        name: the name of the workspace.
        countries: ISO 3166 codes, or `all` alone; None: unchanged.
        premium_rate: whether it may call premium-rate and shared-cost numbers; None: unchanged.
        person_limits: how many attempts to a person within how many hours, as in `3/24`, or `none` alone; None:
            unchanged.

    Raises:
        NotFound: there is no such workspace.
        InvalidInput: a country code or a limit is wrong.
    """
    with db.begin() as connection:
        workspace_id = configuration.find_workspace(connection, name)
        if workspace_id is None:
            raise NotFound(f"No workspace is called {name}")
        rules = workspaces.rules(connection, workspace_id)
        if countries is not None:
            everywhere = list(countries) == [ALL_COUNTRIES]
            rules = replace(rules, countries=None if everywhere else frozenset(map(_country, countries)))
        if premium_rate is not None:
            rules = replace(rules, premium_rate=premium_rate)
        workspaces.set_rules(connection, name, rules)
        if person_limits is not None:
            limits = [] if list(person_limits) == [NO_LIMIT] else _limits(person_limits)
            workspaces.set_person_limits(connection, workspace_id, limits)


class ChangedWorkspace(Changes):
    """What an admin may change of the workspace. Which countries and numbers it may call, only the owner changes."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"timezone": "Europe/Berlin", "person_limits": [{"attempts": 3, "hours": 24}]}}
    )

    person_limits: PersonLimits = []
    timezone: Zone = "UTC"
    keep_batches_days: DaysKept | None = None
    if_match: Token | None = None


def default_zone(db: Database, workspace_id: WorkspaceId) -> str:
    """Read the time zone of batches that are created without one.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.

    Returns:
        The name of the zone.
    """
    with db.begin() as connection:
        return str(workspaces.read(connection, workspace_id).timezone)


def show(db: Database, workspace_id: WorkspaceId) -> dict[str, Any]:
    """Read one workspace.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.

    Returns:
        What `list_all` returns of it, and `if_match`, which names these values.
    """
    with db.begin() as connection:
        return _view(workspaces.read(connection, workspace_id))


def change(
    db: Database, workspace_id: WorkspaceId, changed: ChangedWorkspace, if_match: str | None = None
) -> dict[str, Any]:
    """Change what is given of a workspace. Limits apply to the next claim; the zone to batches that are created.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        changed: the fields; those that were not set stay as they are.
        if_match: as `changed.if_match`; where both are given, both must be current.

    Returns:
        The workspace after the change.

    Raises:
        SettingsChanged: the workspace has changed since `if_match` was returned.
        InvalidInput: Postgres does not know the zone.
    """
    with db.begin() as connection:
        row = workspaces.lock(connection, workspace_id)
        if {if_match, changed.if_match} - {None, _view(row)["if_match"]}:
            raise SettingsChanged("The workspace has changed since this if_match was returned; read it again")
        changes = changed.model_dump(exclude_unset=True, exclude={"if_match"})
        if "person_limits" in changes:
            workspaces.set_person_limits(connection, workspace_id, changes["person_limits"])
        zone = changes.get("timezone", row.timezone)
        if zone != row.timezone and not configuration.knows_zone(connection, zone):
            raise InvalidInput.of("timezone", "is not known to Postgres")
        workspaces.set_values(connection, workspace_id, zone, changes.get("keep_batches_days", row.keep_batches_days))
        return _view(workspaces.read(connection, workspace_id))


def _view(row: Any) -> dict[str, Any]:
    """Add the token to a row: a hash of its values, which any change of them makes stale."""
    values = dict(row._mapping)
    digest = sha256(json.dumps(values, sort_keys=True, default=str).encode()).digest()
    return values | {"if_match": urlsafe_b64encode(digest[:18]).decode()}


def keep_batches(db: Database, name: str, days: int | None) -> None:
    """Change how long a workspace keeps its batches after their end, with everything in them.

    Args:
        db: the database.
        name: the name of the workspace.
        days: 1 to 36,500; None: as long as the installation does (DIALER_KEEP_BATCHES_DAYS).

    Raises:
        NotFound: there is no such workspace.
    """
    with db.begin() as connection:
        if not workspaces.keep_batches(connection, name, days):
            raise NotFound(f"No workspace is called {name}")


def _limits(texts: Sequence[str]) -> list[dict[str, int]]:
    fields = [dict(zip(("attempts", "hours"), text.split("/", 1), strict=False)) for text in texts]
    try:
        limits = LIMITS.validate_python(fields)
    except ValidationError:
        reason = "must be attempts (1 to 100) per hours (1 to 720), as in 3/24,7/168, each once, or none"
        raise InvalidInput.of("person_limits", reason) from None
    return [limit.model_dump() for limit in limits]


def _country(code: str) -> str:
    try:
        return check_region(code)
    except InvalidInput as error:
        raise InvalidInput.of("countries", error.errors[0].reason) from None
