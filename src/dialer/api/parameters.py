"""Refuses query parameters that an operation does not have, so that a typo is not silently ignored."""

from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.models import Dependant

from dialer.errors import FieldError, InvalidInput

MAX_SHOWN = 100


def check_parameters(request: Request) -> None:
    """Raise InvalidInput with every unknown query parameter."""
    if not request.query_params:
        return
    known = _names(request.scope["route"].dependant)
    if unknown := [name[:MAX_SHOWN] for name in dict.fromkeys(request.query_params) if name not in known]:
        raise InvalidInput([FieldError(name, _reason(name, known)) for name in unknown[:MAX_SHOWN]])


def _names(dependant: Dependant) -> frozenset[str]:
    """Name the parameters of an operation and of what it depends on."""
    own = (field.alias for field in dependant.query_params)
    return frozenset(own).union(*(_names(dependency) for dependency in dependant.dependencies))


def _reason(name: str, known: frozenset[str]) -> str:
    close = get_close_matches(name, sorted(known), 1)
    return f"is no parameter of this operation{f'; did you mean {close[0]}?' if close else ''}"
