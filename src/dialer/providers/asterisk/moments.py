"""Asterisk's moments, as in 2026-11-23T12:35:57.306+0000. What cannot be read is None."""

from datetime import datetime
from typing import Any

import pendulum
from pendulum import DateTime


def moment(text: Any) -> DateTime | None:
    try:
        found = datetime.fromisoformat(text)
        return None if found.tzinfo is None else pendulum.instance(found).in_timezone("UTC")
    except (TypeError, ValueError, OverflowError):
        return None
