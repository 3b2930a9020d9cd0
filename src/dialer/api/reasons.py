"""The query parameter by which contacts are listed that are not called for a reason, or can be called."""

from typing import Annotated

from fastapi import Query
from pydantic import WithJsonSchema

from dialer.domain.gates.codes import GateCode
from dialer.service.explain import NO_REASON, ListedReason

_Listed = Annotated[ListedReason, WithJsonSchema({"type": "string", "enum": [NO_REASON, *GateCode]})]
NotCalledBecause = Annotated[
    _Listed | None,
    Query(
        description="Only those that are not called now for this reason, as `reasons` of `explain` counts them; "
        "`none`: those that can be called now. Not in a batch of more than 50,000 contacts."
    ),
]
