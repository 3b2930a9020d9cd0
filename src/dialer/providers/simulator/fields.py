"""Takes known keys out of a JSON object and gathers everything that is wrong with it.

In: a mapping from outside. Out: values of the right type and range; for a wrong one the default, and an entry in
`errors`. Nothing is raised here, so that all wrong fields are named at once.
"""

from collections.abc import Mapping
from typing import Any

from dialer.errors import FieldError


class Fields:
    """One JSON object and what is wrong with it."""

    def __init__(self, values: Mapping[str, Any], prefix: str, errors: list[FieldError]) -> None:
        self._values = values
        self._prefix = prefix
        self._errors = errors
        self._known: set[str] = set()

    def has(self, key: str) -> bool:
        return key in self._values

    def number(self, key: str, default: float, *, low: float = 0.0, high: float = 1e9) -> float:
        value = self._take(key, default)
        # The comparison refuses NaN and infinity too.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.refuse(key, f"must be a number from {low:g} to {high:g}")
            return default
        return float(value)

    def whole(self, key: str, default: int | None, *, low: int = 1, high: int = 2**63) -> int | None:
        value = self._take(key, default)
        if value is None and default is None and not self.has(key):
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(key, f"must be a whole number from {low} to {high}")
            return default
        return value

    def text(self, key: str) -> str | None:
        value = self._take(key, None)
        if value is not None and not isinstance(value, str):
            self.refuse(key, "must be a text")
            return None
        return value

    def section(self, key: str) -> "Fields":
        value = self._take(key, {})
        if not isinstance(value, Mapping):
            self.refuse(key, "must be an object")
            value = {}
        return Fields(value, f"{self._prefix}{key}.", self._errors)

    def refuse(self, key: str, reason: str) -> None:
        """Note one wrong field; the empty key stands for the object itself."""
        self._errors.append(FieldError(f"{self._prefix}{key}".rstrip("."), reason))

    def finish(self) -> None:
        """Refuse every key that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                self.refuse(str(key), "is not known here")

    def _take(self, key: str, default: object) -> Any:
        self._known.add(key)
        return self._values.get(key, default)
