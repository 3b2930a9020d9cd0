"""The roles of API keys. Each role may do all that the roles before it may do."""

from enum import StrEnum


class Role(StrEnum):
    """What a key may do."""

    VIEWER = "viewer"  #: Reads.
    OPERATOR = "operator"  #: Also writes: batches, contacts, agents and numbers.
    ADMIN = "admin"  #: Also manages keys and trunks.

    def suffices_for(self, wanted: "Role") -> bool:
        """Say whether this role may do what the role `wanted` may do."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)
