"""What all runs of one forecast share: contacts in groups with the same hours and expiry, and what follows a call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from pendulum import DateTime

from dialer.domain import retry
from dialer.domain.batch import Batch
from dialer.domain.forecast.hours import Days, Hours
from dialer.domain.forecast.situation import Cohort, Limits, Situation
from dialer.domain.gates.codes import GateCode
from dialer.domain.gates.of_contact import ContactFacts, attempts_gate
from dialer.domain.lane import Lane
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.retry import RetryRules
from dialer.domain.states import ContactStatus
from dialer.domain.window import CallingWindow
from dialer.errors import InvalidInput

# The outcomes that are forecast. FAILED: the network failed before the call rang, so no attempt is used up.
OUTCOMES = (
    Outcome.NO_ANSWER, Outcome.ANSWERED, Outcome.MACHINE, Outcome.BUSY, Outcome.REJECTED, Outcome.INVALID_NUMBER,
    Outcome.FAILED,
)  # fmt: skip
# So many calls are drawn one by one; of more, so many that start together that a run makes about GROUPS_OF_CALLS draws.
SINGLE_CALLS = 1_500
GROUPS_OF_CALLS = 500
HORIZON_SECONDS = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts with the same hours, which expire together; in seconds since 1970."""

    hours: Hours
    expires_at: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """Contacts of one group that may be called at `due`. `attempts`, `refusals`: those they have had."""

    due: float
    group: int
    attempts: int
    refusals: int
    count: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What an outcome does to a contact. `delay_seconds` None: it is final; `code`: why it was not reached."""

    delay_seconds: float | None = None
    code: GateCode | None = None


@dataclass(frozen=True, slots=True)
class Timetable:
    """One batch as its runs see it; times in seconds since 1970.

    `dialing`: contacts with a call in progress, `fresh`: those that may be called at the start, `later`: those whose
    retry is due then. `chunk`: how many calls of one cohort are drawn together.
    """

    starts: float
    ends: float
    limits: Limits
    window: CallingWindow
    days: Days
    groups: Sequence[Group]
    dialing: Sequence[Waiting]
    fresh: Sequence[Waiting]
    later: Sequence[Waiting]
    unreached: dict[str, int]
    respects_contact_timezone: bool
    expires: float
    rules: RetryRules
    chunk: int
    _effects: dict[tuple[int, int], tuple[Effect, ...]] = field(default_factory=dict, repr=False, compare=False)

    def effects(self, attempts: int, refusals: int) -> tuple[Effect, ...]:
        """Say what each of OUTCOMES does to a contact with so many attempts, this one included."""
        key = attempts, refusals
        if key not in self._effects:
            self._effects[key] = tuple(_effect(self.rules, outcome, attempts, refusals) for outcome in OUTCOMES)
        return self._effects[key]


def timetable(situation: Situation, expected_calls: float) -> Timetable:
    """Prepare the runs of a forecast. `expected_calls`: roughly how many attempts there will be."""
    batch, starts = situation.batch, situation.starts_at
    assert batch.window is not None
    indexes: dict[tuple[tuple[str, ...], DateTime | None], int] = {}
    groups: list[Group] = []
    fresh: list[tuple[int, Waiting]] = []
    dialing, later = [], []
    unreached = {GateCode.SUPPRESSED: situation.suppressed}
    hours: dict[tuple[str, ...], Hours] = {}
    for cohort in situation.cohorts:
        zones = cohort.zones if batch.respect_contact_timezone else ()
        if zones not in hours:
            hours[zones] = Hours(_windows(zones, batch.window), starts)
        if code := _why_never(batch, cohort, hours[zones], starts):
            unreached[code] = unreached.get(code, 0) + cohort.count
            continue
        key = zones, cohort.expires_at
        if key not in indexes:
            indexes[key] = len(groups)
            groups.append(Group(hours[zones], _first(batch.expires_at, cohort.expires_at)))
        contacts = _waiting(cohort, indexes[key], starts)
        if cohort.is_dialing:
            dialing.append(contacts)
        elif contacts.due > starts.timestamp():
            later.append(contacts)
        else:
            fresh.append((cohort.priority, contacts))
    return Timetable(
        starts=starts.timestamp(),
        ends=starts.timestamp() + HORIZON_SECONDS,
        limits=situation.limits,
        window=batch.window,
        days=Days(batch.window),
        groups=groups,
        dialing=dialing,
        fresh=[contacts for _, contacts in sorted(fresh, key=_priority)],
        later=later,
        unreached={code: count for code, count in unreached.items() if count},
        respects_contact_timezone=batch.respect_contact_timezone,
        expires=_first(batch.expires_at),
        rules=batch.retry,
        chunk=1 if expected_calls <= SINGLE_CALLS else ceil(expected_calls / GROUPS_OF_CALLS),
    )


def _priority(prioritised: tuple[int, Waiting]) -> int:
    return prioritised[0]


def _waiting(cohort: Cohort, group: int, starts: DateTime) -> Waiting:
    """Read a cohort. The last attempt of contacts that are being called is drawn anew."""
    due = starts.timestamp() if cohort.due_at is None else cohort.due_at.timestamp()
    return Waiting(due, group, cohort.attempts - cohort.is_dialing, cohort.refusals, cohort.count)


def _why_never(batch: Batch, cohort: Cohort, hours: Hours, starts: DateTime) -> GateCode | None:
    """Say why the contacts of a cohort are never called again; None: they are."""
    if cohort.is_dialing:
        return None
    allowed = cohort.attempts + 1 if cohort.is_called_back else 0
    contact = ContactFacts(ContactStatus.WAITING, attempts=cohort.attempts, attempts_allowed=allowed)
    if attempts_gate(batch.retry, contact):
        return GateCode.ATTEMPTS_USED
    return GateCode.WINDOW_NEVER_OPENS if hours.next_open(starts.timestamp()) == inf else None


def _windows(zones: Sequence[str], window: CallingWindow) -> Sequence[CallingWindow]:
    try:
        return Lane(tuple(zones)).windows(window)
    except InvalidInput:
        # A zone that this system does not know: its contacts are not called.
        return ()


def _first(*moments: DateTime | None) -> float:
    return min((moment.timestamp() for moment in moments if moment is not None), default=inf)


def _effect(rules: RetryRules, outcome: Outcome, attempts: int, refusals: int) -> Effect:
    if outcome is Outcome.FAILED and refusals < retry.MOST_NETWORK_FAILURES:
        return Effect(retry.after_refusal(CauseClass.INFRASTRUCTURE, refusals + 1).delay_seconds)
    decision = retry.after_call(rules, outcome, attempts)
    if decision.status is ContactStatus.WAITING:
        return Effect(decision.delay_seconds)
    if decision.status is ContactStatus.COMPLETED:
        return Effect()
    return Effect(code=GateCode.NUMBER_INVALID if outcome is Outcome.INVALID_NUMBER else GateCode.ATTEMPTS_USED)
