"""Only a row that fails by its own data, several times over minutes, while others go well, goes into quarantine."""

from dataclasses import replace
from typing import Any

import pytest

from dialer.domain.quarantine import MOST_EQUAL, SECONDS, TRIES, Failure

OWN = Failure(is_of_data=True, tries=TRIES, seconds=SECONDS, equal=MOST_EQUAL, others_go_well=True)


def test_a_row_that_meets_every_condition_just_so_is_to_blame() -> None:
    assert OWN.is_the_rows_own


@pytest.mark.parametrize(
    "but",
    [
        {"is_of_data": False},
        {"tries": TRIES - 1},
        {"seconds": SECONDS - 0.001},
        {"equal": MOST_EQUAL + 1},
        {"others_go_well": False},
    ],
)
def test_a_row_that_misses_one_condition_is_not(but: dict[str, Any]) -> None:
    assert not replace(OWN, **but).is_the_rows_own
