"""Which trunks the calls of a batch must not use, by what their providers need and permit."""

from collections.abc import Iterable, Sequence

from dialer.domain.batch import Batch
from dialer.domain.ids import TrunkId
from dialer.domain.trunk import OutboundNumber
from dialer.providers import registry


def without_listener(outbound: Iterable[OutboundNumber]) -> set[TrunkId]:
    """Find the trunks without a listener, of providers that report the end of a call to a listener only (P5)."""
    unheard = {number.trunk.id: number.trunk.provider for number in outbound if not number.trunk_is_heard}
    return {trunk_id for trunk_id, provider in unheard.items() if registry.needs_listener(provider)}


def not_permitted(batch: Batch, outbound: Sequence[OutboundNumber]) -> set[TrunkId]:
    """Find the trunks whose config does not let answered calls go to the batch's agent."""
    trunks = {number.trunk.id: number.trunk for number in outbound if number.is_usable}
    return {
        trunk.id
        for trunk in trunks.values()
        if registry.agent_refusal(trunk, batch.connection.get(trunk.provider) or {})
    }
