"""The FastAPI application: its routers, its middleware, and the state that its handlers use."""

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
    batch_copies,
    batch_settings,
    calls,
    contact_folders,
    contacts,
    docs,
    errors,
    events,
    explanations,
    forecasts,
    keys,
    metrics,
    people,
    phone_numbers,
    probes,
    quarantine,
    suppressions,
    trunks,
    webhook_endpoints,
    webhooks,
    workspace,
)
from dialer.api.batch_streams import BatchStreams
from dialer.api.http_methods import CorsMiddleware, HeadMiddleware
from dialer.api.openapi import describe
from dialer.api.request_context import RequestContextMiddleware
from dialer.api.transfers import Transfers
from dialer.console import routes as console_routes
from dialer.console import sign_in
from dialer.console.explanations import Explanations
from dialer.console.forecast import MadeForecasts
from dialer.console.live import LivePages
from dialer.engine.context import EngineContext
from dialer.settings import Settings
from dialer.store.process_metrics import ProcessMetrics
from dialer.store.request_limits import RateLimits

# In this order in the document. Webhooks first: they are asked most often, and routes are matched one after the other.
RESOURCES = (
    webhooks,
    batch_calls,
    batch_copies,
    batch_settings,
    explanations,
    forecasts,
    events,
    contacts,
    calls,
    agents,
    phone_numbers,
    trunks,
    contact_folders,
    suppressions,
    people,
    webhook_endpoints,
    keys,
    quarantine,
    workspace,
)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run as many request threads as there are database connections; write the last metrics at the end."""
    to_thread.current_default_thread_limiter().total_tokens = app.state.settings.api_threads
    yield
    app.state.metrics.close()


def make_app(
    context: EngineContext,
    settings: Settings,
    clock: Callable[[], DateTime],
    rng: Random,
    ask_settle: Callable[[], object] = lambda: None,
) -> FastAPI:
    """Make an application. Nothing is connected until a request needs it.

    Args:
        context: what the engine works with.
        settings: the settings of this process.
        clock: the clock of requests.
        rng: the source of random numbers.
        ask_settle: called after call events were stored.
    """
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
    """Set the state that the handlers use."""
    state = app.state
    state.connect = wiring.connecting(settings)
    state.context, state.settings, state.clock, state.rng = context, settings, clock, rng
    state.read_context = replace(context, db=context.db.hurried(settings.read_timeout_seconds, wiring.seconds))
    state.uploads, state.exports, state.audits = Transfers("uploads"), Transfers("exports"), Transfers("audits")
    # They compute, so more at once would only take longer.
    state.forecasts = Transfers("forecasts", at_once=2, per_workspace=1)
    state.unsigned_reports = webhooks.unsigned_reports()
    state.failed_sign_ins = sign_in.failed_sign_ins()
    state.adapters = webhooks.Adapters(context.db, state.connect, wiring.seconds)
    state.report_queue = webhooks.report_queue(context.db, ask_settle)
    state.batch_streams = BatchStreams(state.read_context.db)
    state.explanations = Explanations(state.read_context, wiring.seconds)
    state.made_forecasts = MadeForecasts()
    state.live_pages = LivePages(state.read_context.db, clock, state.explanations)
    state.rate_limits = RateLimits(settings.redis, settings.rate_limit_per_minute)
    state.metrics = ProcessMetrics(settings.redis, wiring.seconds, f"api {wiring.process_name()}")
    state.metrics_page = metrics.MetricsPage(state.read_context, settings, state.metrics)


def warm_up(app: FastAPI) -> None:
    """Do now what the first requests would wait for, a second on a busy machine: build the routes and the pages."""
    nowhere = {"type": "http", "method": "GET", "path": "", "root_path": "", "headers": []}
    for route in app.routes:
        # FastAPI builds the routes of a router when a path is first compared with them.
        route.matches(nowhere)
    console_routes.compile_templates()


def make_routes() -> FastAPI:
    """Join the routers and the middleware."""
    app = FastAPI(
        title="Dialer",
        version="1",
        redoc_url=None,
        docs_url=None,
        # Behind a TLS proxy a redirect would point to http://, and the client would send its key unencrypted.
        redirect_slashes=False,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    v1 = APIRouter(prefix="/v1", responses=errors.documented(401, 403, 422, 429, 503))
    for resource in RESOURCES:
        v1.include_router(resource.router)
    app.include_router(v1)
    app.include_router(docs.router)
    app.include_router(probes.router)
    app.include_router(metrics.router)
    app.include_router(console_routes.router)
    errors.install(app)
    # The last one is the outermost.
    app.add_middleware(HeadMiddleware)
    app.add_middleware(CorsMiddleware)
    app.add_middleware(RequestContextMiddleware)
    describe(app)
    return app
