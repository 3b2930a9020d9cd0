"""Causes of refusals: each has a remedy, and the page of outcomes lists them all."""

import re
from pathlib import Path

from dialer.domain.outcomes import RefusalCause

PAGE = Path(__file__).parents[2] / "docs" / "outcomes.md"


def test_the_page_of_outcomes_lists_each_cause_with_its_remedy() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    listed = {cause: remedy for cause, remedy in rows if cause in set(RefusalCause)}
    assert listed == {cause.value: cause.remedy for cause in RefusalCause}


def test_a_cause_is_stored_as_its_word() -> None:
    assert f"{RefusalCause.NO_PUBLIC_URL}" == "no_public_url"
    assert len({cause.value for cause in RefusalCause}) == len(RefusalCause)
