"""The application: its routers, what surrounds every request, and the probes that need no key."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

from anyio import to_thread
from fastapi import APIRouter, FastAPI
from pendulum import DateTime

from dialer import wiring
from dialer.api import (
    agents,
    batch_calls,
    contact_folders,
    contacts,
    docs,
    errors,
    events,
    keys,
    metrics,
    phone_numbers,
    probes,
    suppressions,
    trunks,
    webhooks,
)
from dialer.api.batch_streams import Watching
from dialer.api.openapi import describe
from dialer.api.request_context import ExchangeMiddleware
from dialer.api.transfers import Transfers
from dialer.engine.context import EngineContext
from dialer.settings import Settings
from dialer.store.process_metrics import Measures
from dialer.store.request_limits import RateLimits


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Let as many requests be worked on at once as there are connections for; at the end, hand in what was measured."""
    to_thread.current_default_thread_limiter().total_tokens = app.state.settings.api_threads
    yield
    app.state.measures.close()


def make_app(
    context: EngineContext,
    settings: Settings,
    clock: Callable[[], DateTime],
    rng: Random,
    ask_settle: Callable[[], object] = lambda: None,
) -> FastAPI:
    """Make an application that answers with these context. Nothing is connected until a request needs it."""
    app = make_routes()
    equip(app, context, settings, clock, rng, ask_settle)
    return app


def equip(
    app: FastAPI,
    context: EngineContext,
    settings: Settings,
    clock: Callable[[], DateTime],
    rng: Random,
    ask_settle: Callable[[], object] = lambda: None,
) -> None:
    """Give the routes what they answer with."""
    state = app.state
    state.ask_settle, state.connect = ask_settle, wiring.connecting(settings)
    state.context, state.settings, state.clock, state.rng = context, settings, clock, rng
    state.reading = replace(context, db=context.db.hurried(settings.read_timeout_seconds, wiring.seconds))
    state.uploads, state.exports, state.audits = Transfers("uploads"), Transfers("exports"), Transfers("audits")
    state.unsigned_reports = webhooks.UnsignedReports()
    state.watching = Watching(state.reading.db)
    state.rate_limits = RateLimits(settings.redis, settings.rate_limit_per_minute)
    state.measures = Measures(settings.redis, wiring.seconds)
    state.figures = metrics.Figures(state.reading, settings, state.measures)


def make_routes() -> FastAPI:
    """Join the routes, and what surrounds every request."""
    app = FastAPI(
        title="Dialer",
        version="1",
        redoc_url=None,
        docs_url=None,
        # A redirect would lead to http:// behind a proxy that speaks TLS, and the key would follow it in the clear.
        redirect_slashes=False,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    v1 = APIRouter(prefix="/v1", responses=errors.documented(401, 403, 422, 429, 503))
    for resource in (batch_calls, events, contacts, agents, phone_numbers, trunks, contact_folders, suppressions, keys):
        v1.include_router(resource.router)
    v1.include_router(webhooks.router)
    app.include_router(v1)
    app.include_router(docs.router)
    app.include_router(probes.router)
    app.include_router(metrics.router)
    errors.install(app)
    app.add_middleware(ExchangeMiddleware)
    describe(app)
    return app
