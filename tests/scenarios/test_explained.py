"""What explain says at a moment is what dispatch does at that moment, in many states."""

import pytest
from hypothesis import given, settings

from support.explained_states import NOT_CHECKED, State, assert_explained_as_dispatched, opener, states
from support.world import Connections, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@settings(max_examples=400, suppress_health_check=NOT_CHECKED)
@given(state=states())
def test_a_contact_is_explained_as_callable_exactly_if_dispatch_claims_it_now(
    world: World, connections: Connections, state: State
) -> None:
    assert_explained_as_dispatched(opener(world, connections), state)
