"""Sign in with an API key, and sign out."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from dialer.api.failure_limit import FailureLimit
from dialer.console.page import HEADERS, PageRoute, sign_in_page
from dialer.console.visitor import COOKIE, Leaving, SentForm, check_origin
from dialer.errors import NotAuthenticated
from dialer.service import sessions

router = APIRouter(prefix="/console", include_in_schema=False, route_class=PageRoute)


def failed_sign_ins(per_minute: int = 20) -> FailureLimit:
    """Make the limit of failed sign-ins from each address."""
    return FailureLimit("Too many sign-ins from this address have failed; try again in a minute", per_minute)


@router.post("/sign-in")
def sign_in(request: Request, form: SentForm) -> Response:
    """Exchange a key for a session cookie, and go to the page that was asked for."""
    check_origin(request)
    failures, address = request.app.state.failed_sign_ins, request.client.host if request.client else ""
    failures.check(address)
    try:
        secret = sessions.sign_in(request.app.state.context.db, form["key"])
    except NotAuthenticated as error:
        failures.add(address)
        return sign_in_page(request, str(error))
    response = RedirectResponse(_page_of_console(form["after"]), 303, HEADERS)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(sessions.LIFETIME.total_seconds()),
        path="/console",
        # What the browser uses, whatever a proxy between does.
        secure=urlsplit(request.headers["origin"]).scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/sign-out")
def sign_out(request: Request, _: Leaving) -> Response:
    """End the session."""
    sessions.sign_out(request.app.state.context.db, request.cookies[COOKIE])
    response = RedirectResponse("/console", 303, HEADERS)
    response.delete_cookie(COOKIE, path="/console")
    return response


def _page_of_console(address: str) -> str:
    """Return an address of the console; anything else becomes its first page."""
    return address if address.startswith("/console") and address.isprintable() and "\\" not in address else "/console"
