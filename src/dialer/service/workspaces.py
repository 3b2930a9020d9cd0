"""Workspaces, as the machine's owner sees and limits them. No key of the API gets here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dialer.domain.phone import check_region
from dialer.errors import InvalidInput, NotFound
from dialer.store import configuration, workspaces
from dialer.store.database import Database

ALL_COUNTRIES = "all"


def listed(db: Database) -> list[dict[str, Any]]:
    """Read all workspaces with what they may call; `countries` null: every country."""
    with db.begin() as connection:
        return [dict(row._mapping) for row in workspaces.listed(connection)]


def limit(db: Database, name: str, countries: Sequence[str] | None, premium_rate: bool | None) -> None:
    """Change what a workspace may call; None: that stays as it is. `countries`: ISO 3166 codes, or `all` alone.

    It counts for every call from now on, and for contacts that were loaded before. Raises NotFound and InvalidInput.
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
