"""What a key may do. Each role may do what the ones before it may."""

from enum import StrEnum


class Role(StrEnum):
    """viewer reads; operator reads and writes; admin also keeps keys and trunks."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def suffices_for(self, wanted: "Role") -> bool:
        """Say whether this role may do what `wanted` may."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)
