"""Workspaces and what they may call. Only for the owner of the installation: the API does not use this module."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dialer.domain.phone import check_region
from dialer.errors import InvalidInput, NotFound
from dialer.store import configuration, workspaces
from dialer.store.database import Database

ALL_COUNTRIES = "all"


def list_all(db: Database) -> list[dict[str, Any]]:
    """Read all workspaces.

    Args:
        db: the database.

    Returns:
        Each workspace with what it may call; `countries` None: every country.
    """
    with db.begin() as connection:
        return [dict(row._mapping) for row in workspaces.listed(connection)]


def limit(db: Database, name: str, countries: Sequence[str] | None, premium_rate: bool | None) -> None:
    """Change what a workspace may call. Applies to every call from now on, also of contacts that were loaded before.

    Args:
        db: the database.
        name: the name of the workspace.
        countries: ISO 3166 codes, or `all` alone; None: unchanged.
        premium_rate: whether it may call premium-rate and shared-cost numbers; None: unchanged.

    Raises:
        NotFound: there is no such workspace.
        InvalidInput: a country code is wrong.
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


def _country(code: str) -> str:
    try:
        return check_region(code)
    except InvalidInput as error:
        raise InvalidInput.of("countries", error.errors[0].reason) from None
