"""Numbers in SQL: since when the calls of a number are counted toward its daily cap."""

from typing import Any

from dialer.domain.ids import NumberId
from dialer.store import numbers
from support.engine_steps import advance_clock
from support.world import World


def versions(world: World) -> dict[NumberId, str]:
    with world.db.begin() as connection:
        return numbers.capped(connection)


def set_cap(world: World, cap: int | None, **more: Any) -> None:
    advance_clock(world, 60)
    values = {"max_calls_per_day": cap} | more
    columns = ", ".join(f"{name} = :{name}" for name in values)
    world.sql(f"UPDATE phone_numbers SET {columns}", **values)


def test_a_cap_counts_since_it_was_set_until_it_is_taken_away(world: World) -> None:
    assert versions(world) == {}
    set_cap(world, 5)
    first = versions(world)
    assert set(first) == set(world.installed.number_ids)
    set_cap(world, 9, max_concurrent_calls=3)
    assert versions(world) == first
    set_cap(world, None)
    assert world.value("SELECT count(*) FROM phone_numbers WHERE capped_at IS NOT NULL") == 0
    set_cap(world, 5)
    assert all(version != first[number_id] for number_id, version in versions(world).items())
