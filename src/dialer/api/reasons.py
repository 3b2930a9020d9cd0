"""The query parameter by which contacts are listed that are not called for a reason."""

from typing import Annotated

from fastapi import Query

from dialer.domain.gates.codes import GateCode

NotCalledBecause = Annotated[
    GateCode | None,
    Query(
        description="Only those that are not called now for this reason, as `reasons` of `explain` counts them. Not "
        "for a limit that contacts share, such as calls in progress, and not in a batch of more than 50,000 contacts."
    ),
]
