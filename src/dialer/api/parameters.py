"""Refuses query parameters that an operation does not have, or that are given twice: nothing is silently ignored."""

from collections import Counter
from collections.abc import Collection
from difflib import get_close_matches
from typing import get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant

from dialer.errors import FieldError, InvalidInput

MAX_SHOWN = 100


def check_parameters(request: Request) -> None:
    """Raise InvalidInput with every query parameter that is unknown or given more than once."""
    if not request.query_params:
        return
    known = _parameters(request.scope["route"].dependant)
    counts = Counter(name for name, _ in request.query_params.multi_items())
    if refused := [name for name, count in counts.items() if name not in known or (count > 1 and not known[name])]:
        raise InvalidInput([FieldError(name[:MAX_SHOWN], _reason(name, known)) for name in refused[:MAX_SHOWN]])


def _parameters(dependant: Dependant) -> dict[str, bool]:
    """Return the parameters of an operation and of what it depends on, and whether each may be given several times."""
    parameters = {field.alias: get_origin(field.field_info.annotation) is tuple for field in dependant.query_params}
    for dependency in dependant.dependencies:
        parameters |= _parameters(dependency)
    return parameters


def _reason(name: str, known: Collection[str]) -> str:
    if name in known:
        return "is given more than once"
    close = get_close_matches(name[:MAX_SHOWN], sorted(known), 1)
    return f"is no parameter of this operation{f'; did you mean {close[0]}?' if close else ''}"
