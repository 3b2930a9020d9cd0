"""Turns errors into HTTP: the status of each error class, and the one response format."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from dialer.api.envelope import Detail, Error, ErrorBody, meta
from dialer.domain.validation import reason_of
from dialer.errors import (
    Busy,
    Contended,
    DialerError,
    InvalidInput,
    KeyInUse,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotSigned,
    SettingsChanged,
    StateConflict,
    TooLarge,
    TooManyRequests,
    Unavailable,
    Unfit,
    UnreadableBody,
    UnreadableFile,
    UnsupportedMedia,
)

# The first match counts, so subclasses stand before their base classes.
STATUS: Mapping[type[DialerError], int] = {
    UnreadableBody: 400,
    UnreadableFile: 400,
    NotAuthenticated: 401,
    NotAllowed: 403,
    NotSigned: 403,
    NotFound: 404,
    SettingsChanged: 409,
    KeyInUse: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    InvalidInput: 422,
    StateConflict: 422,
    TooManyRequests: 429,
    Unavailable: 503,
    Contended: 503,
}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def install(app: FastAPI) -> None:
    """Register the handlers, so that every error has the same format."""
    app.add_exception_handler(DialerError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _http_error)


log = structlog.get_logger()


def error_response(status: int, error: ErrorBody, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Build the response for an error."""
    body = Error(error=error, meta=meta()).model_dump(mode="json")
    return JSONResponse(body, status, dict(headers or {}))


def refusal_of(error: DialerError | RequestValidationError) -> tuple[int, ErrorBody, dict[str, str]]:
    """Return the status, the body and the headers that answer an error."""
    if isinstance(error, RequestValidationError):
        # A wrong path, query or header parameter. Bodies are validated by the services' models.
        details = [(".".join(map(str, wrong["loc"][1:])), reason_of(wrong)) for wrong in error.errors()]
        message = "; ".join(f"{field}: {reason}" for field, reason in details)
        return 422, _body("invalid_input", message, details), {}
    status = next((status for error_class, status in STATUS.items() if isinstance(error, error_class)), 500)
    details = [(wrong.field, wrong.reason) for wrong in error.errors]
    return status, _body(error.code, _message(error), details), _headers(error)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DialerError | RequestValidationError)
    return error_response(*refusal_of(error))


def _message(error: DialerError) -> str:
    """Choose the message for the client.

    Messages of servers, drivers and the environment contain addresses, table names and variable names. Those go to the
    log only; clients, some of whom have no key, get a constant text.
    """
    match error:
        case Unfit():
            log.error("the database cannot do what was asked", reason=str(error))
            return "The database cannot do this as it is now; nothing was done; the API's log says why"
        case Unavailable() if type(error) is Unavailable:
            log.warning("request refused: a part that is needed is unavailable", reason=str(error))
            return "A server that this request needs does not answer; nothing was done; the API's log says why"
        case Contended():
            log.info("request refused: another transaction is in the way", reason=str(error))
            return "Another request is changing this; nothing was done; try again"
        case _:
            return str(error)


def _headers(error: DialerError) -> dict[str, str]:
    match error:
        case NotAuthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case TooManyRequests():
            return {"Retry-After": str(error.retry_after_seconds)}
        case Busy():
            return {"Retry-After": "5"}
        case Unavailable() | Contended() | KeyInUse():
            return {"Retry-After": "1"}
        case _:
            return {}


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return error_response(error.status_code, _body(code, error.detail, []), headers)


def _allowed(request: Request) -> str:
    """List all methods of a path. The router knows only those of the first route that matches."""
    paths = request.app.openapi()["paths"]
    matching = [path for path in paths if compile_path(path)[0].match(request.url.path)]
    methods = {method.upper() for path in matching for method in paths[path]}
    return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


def _body(code: str, message: str, details: Sequence[tuple[str, str]]) -> ErrorBody:
    return ErrorBody(
        code=code, message=message, details=[Detail(field=field, reason=reason) for field, reason in details]
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these error responses in the OpenAPI document."""
    return {status: {"model": Error, "description": MEANINGS[status]} for status in statuses}


MEANINGS = {
    400: "The body is not JSON, or the upload is not a readable file.",
    401: "The key is missing or not valid.",
    403: "The role of the key is not sufficient.",
    404: "No such resource in this workspace.",
    405: "This path does not have this method.",
    409: "The same idempotency key is in use right now, or the settings have changed; `code` says which.",
    413: "Larger than the configured limit.",
    415: "The type or the encoding of the body is not accepted.",
    422: "A field is wrong, or the state does not allow it; `code` says which.",
    429: "Too many requests with this key; retry after `Retry-After`.",
    431: "The header of the request is larger than 64 KiB.",
    503: "A server that Dialer needs does not answer, or too many requests are running; nothing was done. "
    "Retry after `Retry-After`.",
}
