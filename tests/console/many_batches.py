"""Makes many batches at once, as copies of one in SQL."""

from uuid import UUID

from dialer.domain.ids import first_of
from support.world import World


def copy_batches(world: World, count: int) -> list[UUID]:
    """Make this many started batches without contacts; return their ids, the oldest first."""
    original = world.batch(0, name="copied", start=False, max_concurrent_calls=7)
    columns = [
        row.column_name
        for row in world.rows(
            """
            SELECT column_name FROM information_schema.columns
            WHERE table_name = 'batches' AND is_generated = 'NEVER' AND is_identity = 'NO'
            AND column_name NOT IN ('id', 'name', 'status')
            """
        )
    ]
    first = first_of(world.clock.now).int
    ids = [UUID(int=first + n) for n in range(1, count + 1)]
    world.sql(
        f"""
        INSERT INTO batches (id, name, status, {", ".join(columns)})
        SELECT i.id, 'batch ' || i.n, 'active', {", ".join(columns)}
        FROM batches b, unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS i (id, n) WHERE b.id = :original
        """,
        ids=ids,
        original=original,
    )
    world.sql("DELETE FROM batches WHERE id = :original", original=original)
    return ids
