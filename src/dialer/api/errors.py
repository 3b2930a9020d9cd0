"""Errors to HTTP: which status each of them is, and the one form in which all of them are told."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from dialer.api.envelope import Detail, ErrorBody, Refusal, meta
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
    StateConflict,
    TooLarge,
    TooManyRequests,
    Unavailable,
    Unfit,
    UnreadableBody,
    UnreadableFile,
)

# The first that fits, so what is special stands before what is general.
STATUS: Mapping[type[DialerError], int] = {
    UnreadableBody: 400,
    UnreadableFile: 400,
    NotAuthenticated: 401,
    NotAllowed: 403,
    NotSigned: 403,
    NotFound: 404,
    KeyInUse: 409,
    TooLarge: 413,
    InvalidInput: 422,
    StateConflict: 422,
    TooManyRequests: 429,
    Unavailable: 503,
    Contended: 503,
}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def install(app: FastAPI) -> None:
    """Answer every error in the one form."""
    app.add_exception_handler(DialerError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


log = structlog.get_logger()


def refusal(status: int, error: ErrorBody, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = Refusal(error=error, meta=meta()).model_dump(mode="json")
    return JSONResponse(body, status, dict(headers or {}))


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DialerError)
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    details = [(one.field, one.reason) for one in error.errors] if isinstance(error, InvalidInput) else []
    return refusal(status, _body(error.code, _message(error), details), _headers(error))


def _message(error: DialerError) -> str:
    """Word an error. What servers, drivers and the environment say is for the owner of this installation, who finds it
    in the log: addresses, tables, names of variables. Its clients, some of whom have no key, get constant words.
    """
    match error:
        case Unfit():
            log.error("the database cannot do what was asked", reason=str(error))
            return "The database cannot do this as it is now; nothing was done. The log of the API says why."
        case Unavailable() if type(error) is Unavailable:
            log.warning("request refused: a part that is needed is unavailable", reason=str(error))
            return "A part that this needs does not answer; nothing was done. The log of the API says why."
        case Contended():
            log.info("request refused: another transaction is in the way", reason=str(error))
            return "Another request is changing this; nothing was done. Try again."
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
        case Unavailable() | Contended():
            return {"Retry-After": "1"}
        case _:
            return {}


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """A part of the path or the query is wrong; bodies are read by the services' own models."""
    assert isinstance(error, RequestValidationError)
    details = [(".".join(map(str, one["loc"][1:])), _lowered(one["msg"])) for one in error.errors()]
    message = "; ".join(f"{field}: {reason}" for field, reason in details)
    return refusal(422, _body("invalid_input", message, details))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return refusal(error.status_code, _body(code, error.detail, []), headers)


def _allowed(request: Request) -> str:
    """Name all methods of a path: the router knows only those of the first route that fits."""
    paths = request.app.openapi()["paths"]
    mine = [path for path in paths if compile_path(path)[0].match(request.url.path)]
    return ", ".join(sorted({method.upper() for path in mine for method in paths[path]}))


def _body(code: str, message: str, details: Sequence[tuple[str, str]]) -> ErrorBody:
    return ErrorBody(code=code, message=message, details=[Detail(field=field, reason=why) for field, why in details])


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these refusals in the OpenAPI document."""
    return {status: {"model": Refusal, "description": MEANINGS[status]} for status in statuses}


MEANINGS = {
    400: "The body is not JSON, or the upload is not a readable file.",
    401: "No key, or a wrong one.",
    403: "The role of the key does not suffice.",
    404: "No such thing in this workspace.",
    405: "This path does not have this method.",
    409: "The same idempotency key is in use right now.",
    413: "Larger than the configured limit.",
    422: "A field is wrong, or the state does not allow it; `code` says which.",
    429: "Too many requests for this key; `Retry-After` says when to come back.",
    503: "A server that Dialer needs does not answer, or too much is under way; nothing was done. See `Retry-After`.",
}
