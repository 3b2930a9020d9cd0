"""Joins the routes of the console."""

from fastapi import APIRouter

from dialer.console import (
    batch,
    batch_settings,
    batches,
    calls,
    contact,
    contact_list,
    contacts,
    events,
    forecast,
    new_batch,
    quarantine,
    resources,
    sign_in,
    static_files,
    suppression_list,
    system,
    webhooks,
)
from dialer.console.page import PageRoute, templates
from dialer.console.visitor import SignedIn
from dialer.errors import NotFound

router = APIRouter()
PARTS = (
    static_files,
    sign_in,
    batches,
    new_batch,
    events,
    contact_list,
    contacts,
    contact,
    calls,
    batch,
    batch_settings,
    forecast,
    system,
    webhooks,
    suppression_list,
    quarantine,
    resources,
)
for part in PARTS:
    router.include_router(part.router)
# The last one: whatever no route above matches.
rest = APIRouter(include_in_schema=False, route_class=PageRoute)


@rest.get("/console/{path:path}")
def missing(path: str, _: SignedIn) -> None:
    raise NotFound(f"There is no page /console/{path}")


router.include_router(rest)


def compile_templates() -> None:
    """Compile all templates, for which the first visitors would wait."""
    for name in templates.list_templates():
        templates.get_template(name)
