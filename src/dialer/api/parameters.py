"""Refuses query parameters that an operation does not have, or that are given twice: nothing is silently ignored."""

from collections import Counter
from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.models import Dependant

from dialer.errors import FieldError, InvalidInput

MAX_SHOWN = 100


def check_parameters(request: Request) -> None:
    """Raise InvalidInput with every query parameter that is unknown or given more than once."""
    if not request.query_params:
        return
    known = _names(request.scope["route"].dependant)
    counts = Counter(name for name, _ in request.query_params.multi_items())
    if refused := [name for name, count in counts.items() if count > 1 or name not in known]:
        raise InvalidInput([FieldError(name[:MAX_SHOWN], _reason(name, known)) for name in refused[:MAX_SHOWN]])


def _names(dependant: Dependant) -> frozenset[str]:
    """Name the parameters of an operation and of what it depends on."""
    own = (field.alias for field in dependant.query_params)
    return frozenset(own).union(*(_names(dependency) for dependency in dependant.dependencies))


def _reason(name: str, known: frozenset[str]) -> str:
    if name in known:
        return "is given more than once"
    close = get_close_matches(name[:MAX_SHOWN], sorted(known), 1)
    return f"is no parameter of this operation{f'; did you mean {close[0]}?' if close else ''}"
