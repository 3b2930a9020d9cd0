"""The application: its routers, what surrounds every request, and the probes that need no key."""

from collections.abc import Callable
from random import Random

from fastapi import APIRouter, FastAPI
from pendulum import DateTime

from dialer.api import (
    agents,
    batch_calls,
    contact_folders,
    contacts,
    errors,
    keys,
    phone_numbers,
    probes,
    suppressions,
    trunks,
    uploads,
)
from dialer.api.exchange import ExchangeMiddleware
from dialer.api.openapi import describe
from dialer.engine.parts import Parts
from dialer.settings import Settings


def make_app(parts: Parts, settings: Settings, clock: Callable[[], DateTime], rng: Random) -> FastAPI:
    """Join the routes with what answers them. Nothing is connected until a request needs it."""
    app = FastAPI(title="Dialer", version="1", redoc_url=None, generate_unique_id_function=lambda route: route.name)
    app.state.parts, app.state.settings, app.state.rng = parts, settings, rng
    app.state.uploads = uploads.limiter()
    v1 = APIRouter(prefix="/v1", responses=errors.documented(401, 403, 422, 429, 503))
    for resource in (batch_calls, contacts, agents, phone_numbers, trunks, contact_folders, suppressions, keys):
        v1.include_router(resource.router)
    app.include_router(v1)
    app.include_router(probes.router)
    errors.install(app)
    app.add_middleware(ExchangeMiddleware, clock=clock, rng=rng)
    describe(app)
    return app
