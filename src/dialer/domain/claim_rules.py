"""What a claim checks again under the batches' locks: which plans still hold, and which grants are within limits.

Redis grants slots by what was read before. The ledger has the last word, by what is true now (P2, P4).
"""

from collections import defaultdict
from collections.abc import Mapping

from dialer.domain.batch import LockedBatch
from dialer.domain.dispatch_plan import BatchPlan
from dialer.domain.ids import BatchId
from dialer.domain.pacing import free_slots
from dialer.domain.slots import SlotGrant, SlotGrants


def current_plans(
    plans: Mapping[BatchId, BatchPlan], locked: Mapping[BatchId, LockedBatch], today: Mapping[BatchId, int]
) -> dict[BatchId, BatchPlan]:
    """Keep the plans whose facts still hold. Others decide nothing, least of all how long a batch may sleep: its
    settings have changed, or the daily cap that held it back has been given something back (P4, P6).
    """
    return {
        batch_id: plan
        for batch_id, batch in locked.items()
        if (plan := plans[batch_id]).batch.version == batch.version
        and (plan.hold is None or plan.today == today.get(batch_id, 0))
    }


def within_limits(
    current: Mapping[BatchId, BatchPlan],
    grants: SlotGrants,
    locked: Mapping[BatchId, LockedBatch],
    today: Mapping[BatchId, int],
) -> list[SlotGrant]:
    """Keep the grants that the ledger agrees with: for batches that are still active with the settings of their plan,
    and within their free slots and daily cap as they are now (P2, P4).
    """
    by_batch: dict[BatchId, list[SlotGrant]] = defaultdict(list)
    for grant in grants.granted:
        by_batch[grant.batch_id].append(grant)
    kept: list[SlotGrant] = []
    for batch_id, granted in by_batch.items():
        plan = current.get(batch_id)
        if plan is None:
            continue
        limit, cap = plan.batch.max_concurrent_calls, plan.batch.max_calls_per_day
        free = free_slots(limit, locked[batch_id].dialing, len(granted), cap, today.get(batch_id, 0))
        kept += granted[:free]
    return kept
