"""Random states of a batch in real Postgres and Redis, and the check that explain says of them what dispatch does."""

from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pendulum
from hypothesis import HealthCheck
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.explanation import Explanation, Verdict
from dialer.domain.gates.codes import GateCode
from dialer.domain.gates.of_batch import HELD_BY
from dialer.domain.gates.of_contact import SKIPPED
from dialer.domain.ids import BatchId, ContactId
from dialer.engine.dispatch import dispatch
from dialer.engine.explain import contacts_because, explain_contact, explain_contacts
from dialer.engine.retry import retry
from dialer.engine.tick import tick
from dialer.service import contacts
from support.empty_database import EMPTY
from support.world import MONDAY, Clock, Connections, World, made_up_phones

NOT_CHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
MINUTE = timedelta(minutes=1)
# Of the calling window of most examples.
HOURS: dict[str, Any] = {"start_time": "09:00", "end_time": "17:00"}
REPLACED = {"start_time", "end_time", "working_days"}
NOON = MONDAY.at(12)
# Open, closed, and just before the end; on a Monday and on a Saturday.
MOMENTS = [
    NOON,
    MONDAY.at(3),
    MONDAY.at(16, 59, 45),
    MONDAY.at(16, 59, 51),
    MONDAY.at(23, 59, 59),
    MONDAY.add(days=5).at(12),
]
LIMIT, DAY_CAP = "max_concurrent_calls", "max_calls_per_day"
# Closed at noon; open since the evening before; open on another day.
CALLING_HOURS = [
    {"1": [["09:00", "11:59"], ["12:30", "18:00"]]},
    {"7": [["20:00", "12:30"]]},
    {"2": [["00:00", "24:00"]]},
]
# Around the hour that is missing in Berlin; the first and the second pass of the one that is repeated.
CLOCKS = [pendulum.datetime(2026, 3, 29, *at) for at in ((0, 59, 49), (0, 59, 51), (1, 0), (1, 20))]
CLOCKS += [pendulum.datetime(2026, 10, 25, *at) for at in ((0, 20), (1, 20), (2, 14, 49), (2, 20))]
HOLIDAYS = [pendulum.datetime(2026, 4, 6, 12), pendulum.datetime(2026, 4, 7, 12)]
SECOND_TRUNK = """
WITH added AS (INSERT INTO trunks (id, workspace_id, name, provider, config)
               SELECT gen_random_uuid(), workspace_id, 'second', provider, config FROM trunks RETURNING id)
UPDATE phone_numbers SET trunk_id = (SELECT id FROM added) WHERE phone_number <> '+12025550191'
"""
LANES = ["", "UTC", "Asia/Tokyo", "America/New_York", "America/New_York,Asia/Tokyo", "Mars/Olympus"]


@dataclass(frozen=True)
class OneContact:
    """A contact; times are relative to now."""

    status: str = "pending"
    lane: str = ""
    sticks_to: int | None = None
    priority: int = 5
    attempts: int = 0
    attempts_allowed: int = 0
    outcome: str | None = None
    due_in: timedelta = -MINUTE
    expires_in: timedelta | None = None
    is_suppressed: bool = False
    waits_for: str | None = None
    is_in_call: bool = False  #: In another batch.
    called_ago: timedelta | None = None  #: In another batch.


@dataclass(frozen=True)
class State:
    """A batch with its contacts, and all that its calls depend on; times are relative to now."""

    contacts: list[OneContact]
    now: DateTime = NOON
    status: str = "active"
    fields: Mapping[str, Any] = field(default_factory=dict)
    updates: list[str] = field(default_factory=list)
    used_today: int = 0
    others_calls: int = 0
    new_cap: int | None = None
    breaker_in: timedelta | None = None
    agent_in: timedelta | None = None
    redis_is_lost: bool = False
    redis_is_rebuilt: bool = False
    others_rate: float | None = None  #: Of the trunk when the calls of the other batch are planned.
    paused_seconds: float = 0.0  #: The network of the trunk refuses the rate.
    waited: timedelta = timedelta(0)  #: Between what is stored and the look at it.


# What may be odd about a contact. Most have nothing odd, so that what is odd about the batch is not hidden.
ODDITIES: Sequence[Mapping[str, Any]] = [
    *({} for _ in range(6)),
    *({"status": status} for status in ("skipped", "cancelled")),
    {"status": "completed", "outcome": "answered"},
    *({"status": "failed", "outcome": outcome} for outcome in ("busy", "invalid_number", "unknown")),
    *({"status": "waiting", "due_in": due_in} for due_in in (timedelta(0), MINUTE, timedelta(hours=9))),
    *({"expires_in": expires_in} for expires_in in (-MINUTE, timedelta(0), MINUTE)),
    *({"attempts": n, "outcome": outcome} for n in (1, 2) for outcome in ("busy", "machine")),
    {"status": "waiting", "due_in": MINUTE, "attempts": 1, "outcome": "busy"},
    *(
        {"attempts": n, "attempts_allowed": 3, "outcome": outcome}
        for n in (1, 2, 3)
        for outcome in ("answered", "machine", "busy")
    ),
    {"status": "waiting", "waits_for": "callback", "attempts": 4, "attempts_allowed": 5, "outcome": "answered"},
    {"is_suppressed": True},
    *({"is_in_call": True, "priority": priority} for priority in (1, 5)),
    {"is_in_call": True, "status": "waiting", "waits_for": "person_in_call"},
    *({"called_ago": timedelta(hours=hours)} for hours in (1, 2, 3)),
    *({"status": "waiting", "waits_for": why, "due_in": MINUTE} for why in ("not_before", "callback", "person_limit")),
    {"priority": 1},
    {"priority": 1, "is_suppressed": True},
    *({"status": "waiting", "waits_for": why, "priority": 0} for why in ("not_before", "callback", "person_limit")),
]
# What may be odd about a batch, its numbers, its trunk, its agent or Redis.
TROUBLES: Sequence[Mapping[str, Any]] = [
    *({"status": status} for status in ("draft", "scheduled", "due", "paused", "cancelled")),
    *({"now": now, "fields": HOURS} for now in MOMENTS),
    {"now": MONDAY.at(23, 59, 59), "fields": {"start_time": "22:00", "end_time": "06:00"}},
    {"now": MONDAY.add(days=5), "fields": {"working_days": [1, 2, 3, 4, 5]}},
    {"fields": {"excluded_dates": ["2026-03-02"]}},
    {"fields": {"timezone": "Asia/Tokyo", **HOURS}},
    *({"fields": {"expires_in": expires_in}} for expires_in in (-MINUTE, timedelta(0), MINUTE)),
    *({"fields": {"max_calls_per_day": 3}, "used_today": used} for used in (0, 1, 3)),
    {"fields": {"max_concurrent_calls": 2}},
    *({"fields": {"person_limits": [{"attempts": n, "hours": 2}]}} for n in (1, 2)),
    {"updates": ['UPDATE workspaces SET person_limits = \'[{"attempts": 1, "hours": 3}]\'']},
    {"updates": ["UPDATE batches SET timezone = 'Mars/Phobos' WHERE name = 'test'"]},
    {"updates": ["UPDATE agents SET status = 'inactive'"]},
    {"updates": ['UPDATE agents SET connection = \'{"simulator": {"no": "such field"}}\'']},
    {"updates": ["UPDATE phone_numbers SET agent_id = NULL"]},
    {"updates": ["UPDATE phone_numbers SET status = 'inactive'"]},
    {"updates": ["UPDATE phone_numbers SET status = 'inactive' WHERE phone_number <> '+12025550191'"]},
    *({"updates": [f"UPDATE trunks SET {change}"]} for change in ("status = 'inactive'", "max_concurrent_calls = 3")),
    *({"updates": [f"UPDATE trunks SET calls_per_second = {rate}"]} for rate in (0.2, 0.5, 1, 20)),
    *({"updates": [f"UPDATE trunks SET {LIMIT} = {n}"], "others_calls": 1} for n in (1, 2)),
    *({"updates": [f"UPDATE phone_numbers SET {LIMIT} = {n}"], "others_calls": 2} for n in (1, 2)),
    *({"updates": [f"UPDATE phone_numbers SET {DAY_CAP} = {n}"], "others_calls": 2} for n in (1, 2)),
    {"others_calls": 4, "updates": [f"UPDATE phone_numbers SET {LIMIT} = 2", f"UPDATE trunks SET {LIMIT} = 5"]},
    {"new_cap": 5},
    *({"breaker_in": breaker_in} for breaker_in in (-MINUTE, timedelta(0), MINUTE)),
    *({"agent_in": agent_in} for agent_in in (-MINUTE, MINUTE)),
    {"redis_is_lost": True},
    {"redis_is_rebuilt": True},
    *({"fields": {"calling_hours": hours}} for hours in CALLING_HOURS),
    *(
        {"now": now, "fields": {"timezone": "Europe/Berlin", "start_time": "02:15", "end_time": "03:15"}}
        for now in CLOCKS
    ),
    *({"now": now, "fields": {"holidays": {"country": "DE"}}} for now in HOLIDAYS),
    {"fields": {"person_limits": [{"attempts": 1, "hours": 2}, {"attempts": 2, "hours": 3}]}},
    {"updates": [SECOND_TRUNK]},
    *(
        {"updates": [SECOND_TRUNK, f"UPDATE trunks SET calls_per_second = 1 WHERE name {which} 'second'"]}
        for which in ("=", "<>")
    ),
    *({"others_calls": n, "others_rate": rate} for n, rate in ((1, 0.5), (3, 2), (30, 20))),
    *({"updates": ["UPDATE trunks SET calls_per_second = 2"], "paused_seconds": seconds} for seconds in (0.3, 2, 9)),
    {"paused_seconds": 2},
    *({"waited": timedelta(seconds=seconds)} for seconds in (0.4, 2, 7)),
]


def oddities(most: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(st.sampled_from(ODDITIES), min_size=1, max_size=most).map(lambda drawn: dict(ChainMap(*drawn)))


@st.composite
def states(draw: st.DrawFn, most_troubles: int = 2, most_oddities: int = 1) -> State:
    kind = draw(st.sampled_from(["plain", "plain", "zones", "sticky"]))
    troubles = draw(st.lists(st.sampled_from(TROUBLES), max_size=most_troubles))
    retries = draw(st.sampled_from([{}, {"retry_failed": True, "max_retry_attempts": 1, "retry_machine": True}]))
    state: dict[str, Any] = {"fields": dict(retries), "updates": []}
    for trouble in troubles:
        merged = {"fields": state["fields"] | trouble.get("fields", {})}
        merged["updates"] = state["updates"] + trouble.get("updates", [])
        state |= {**trouble, **merged}
    strategy = draw(st.sampled_from(["random", "round_robin", "sequential"]))
    state["fields"] |= {"respect_contact_timezone": kind == "zones", "sticky_caller_id": kind == "sticky"}
    if kind == "sticky":
        # Where contacts keep to numbers, it depends on chance which of them finds its number full.
        chance = (LIMIT, DAY_CAP, "'second'")
        state["updates"] = [update for update in state["updates"] if not any(part in update for part in chance)]
    if "calling_hours" in state["fields"]:
        state["fields"] = {name: value for name, value in state["fields"].items() if name not in REPLACED}
    contacts = [
        OneContact(
            **oddity,
            lane=draw(st.sampled_from(LANES)) if kind == "zones" else "",
            sticks_to=draw(st.sampled_from([None, 0, 1])) if kind == "sticky" else None,
        )
        for oddity in draw(st.lists(oddities(most_oddities), min_size=2, max_size=7))
    ]
    return State(contacts=contacts, **state | {"fields": state["fields"] | {"phone_rotation_strategy": strategy}})


@dataclass(frozen=True)
class Stored:
    """A state in the servers: the engine, the batch, and its contacts in their order."""

    world: World
    batch_id: BatchId
    contact_ids: list[ContactId]

    def explained(self) -> dict[ContactId, Explanation]:
        workspace_id, now = self.world.installed.workspace_id, self.world.clock.now
        return {
            contact_id: explain_contact(self.world.context, workspace_id, self.batch_id, contact_id, now).explanation
            for contact_id in self.contact_ids
        }

    def listed_by_reason(self, codes: set[GateCode | None]) -> dict[ContactId, GateCode | None]:
        """Return the contacts that the lists by these reasons have; None: they can be called now."""
        world, now = self.world, self.world.clock.now
        workspace_id = world.installed.workspace_id
        lists = {code: contacts_because(world.context, workspace_id, self.batch_id, code, now) for code in codes}
        return {
            contact["id"]: code
            for code, because in lists.items()
            for contact in contacts.list_after(world.db, workspace_id, self.batch_id, 0, 100, because=because)
        }

    def statuses(self) -> dict[ContactId, Any]:
        rows = self.world.rows("SELECT id, status, status_reason FROM contacts WHERE batch_id = :id", id=self.batch_id)
        return {row.id: row for row in rows}


def store(world: World, state: State) -> Stored:
    """Write a state, as an operator and a busy day would leave it."""
    others = world.batch(made_up_phones(state.others_calls, first=500), name="other") if state.others_calls else None
    if state.others_rate is not None:
        world.sql("UPDATE trunks SET calls_per_second = :rate", rate=state.others_rate)
    if others:
        dispatch(world.context, [others], state.now, world.rng)
    now, expires_in = state.now, state.fields.get("expires_in")
    later = {"schedule_type": "scheduled", "scheduled_at": now.add(hours=1).isoformat()}
    is_scheduled = state.status in ("scheduled", "due")
    fields = {name: value for name, value in state.fields.items() if name != "expires_in"}
    batch_id = world.batch(0, start=False, **fields, **(later if is_scheduled else {}))
    ids = [add_contact(world, batch_id, n, contact, now) for n, contact in enumerate(state.contacts)]
    call_persons(world, state)
    world.sql(
        "INSERT INTO batch_days (batch_id, local_on, attempts) "
        "SELECT :id, CAST(:now AS timestamptz) AT TIME ZONE :zone, :n",
        id=batch_id, now=now, zone=state.fields.get("timezone", "UTC"), n=state.used_today,
    )  # fmt: skip
    for status in {"paused": ["active", "paused"], "due": ["scheduled"]}.get(state.status, [state.status]):
        world.sql(
            "UPDATE batches SET status = :status WHERE id = :id AND status <> :status", status=status, id=batch_id
        )
    if state.status == "due":
        world.sql("UPDATE batches SET scheduled_at = :now WHERE id = :id", now=now, id=batch_id)
    if expires_in is not None:
        world.sql("UPDATE batches SET expires_at = :at WHERE id = :id", at=now + expires_in, id=batch_id)
    break_down(world, state)
    world.clock.now = now + state.waited
    retry(world.context, world.clock.now)
    return Stored(world, batch_id, ids)


def call_persons(world: World, state: State) -> None:
    """Call contacts in another batch too, or let it have called them."""
    phones = [made_up_phones(1, first=n)[0] for n, contact in enumerate(state.contacts) if contact.is_in_call]
    if phones:
        dispatch(world.context, [world.batch(phones, name="elsewhere")], state.now, world.rng)
    for n, contact in enumerate(state.contacts):
        if contact.called_ago is not None:
            earlier = world.batch(made_up_phones(1, first=n), start=False, name="earlier")
            world.sql(
                """
                INSERT INTO attempts (id, batch_id, contact_id, workspace_id, trunk_id, phone_number_id, to_number,
                                      from_number, state, outcome, local_on, utc_on, granted_at, created_at, ended_at,
                                      allowed_by)
                SELECT gen_random_uuid(), c.batch_id, c.id, b.workspace_id, n.trunk_id, n.id, c.phone_number,
                       n.phone_number, 'ended', 'busy', '2026-03-01', '2026-03-01', t.at, t.at, t.at, '{}'
                FROM contacts c JOIN batches b ON b.id = c.batch_id, (SELECT CAST(:at AS timestamptz) AS at) AS t,
                     (SELECT * FROM phone_numbers LIMIT 1) AS n
                WHERE c.batch_id = :id
                """,
                at=state.now - contact.called_ago,
                id=earlier,
            )


def break_down(world: World, state: State) -> None:
    """Set limits and switch things off; let rescue load new caps, or leave that to come."""
    for update in state.updates:
        world.sql(update)
    world.rescue()
    if state.new_cap is not None:
        world.sql("UPDATE phone_numbers SET max_calls_per_day = :cap", cap=state.new_cap)
    if state.breaker_in is not None:
        world.sql(
            "INSERT INTO trunk_health (trunk_id, failures, reason, opened_at, probe_at, pause_seconds) "
            "SELECT id, 10, 'test', dialer_now(), :at, 30 FROM trunks",
            at=state.now + state.breaker_in,
        )
    if state.agent_in is not None:
        world.sql(
            "INSERT INTO agent_health (agent_id, trunk_id, held_at, reason, probe_at) "
            "SELECT a.id, t.id, dialer_now(), 'test', :at FROM agents a, trunks t",
            at=state.now + state.agent_in,
        )
    if state.paused_seconds:
        world.leases.pause_trunk(state.now, world.installed.trunk_id, state.paused_seconds)
    if state.redis_is_rebuilt or state.redis_is_lost:
        world.flush_redis()
    if state.redis_is_rebuilt:
        world.rescue()


def add_contact(world: World, batch_id: BatchId, position: int, contact: OneContact, now: DateTime) -> ContactId:
    phone = made_up_phones(1, first=position)[0]
    sticks_to = contact.sticks_to
    number = "" if sticks_to is None else f"|{world.installed.number_ids[sticks_to]}"
    is_over = contact.status not in ("pending", "waiting")
    (row,) = world.rows(
        """
        INSERT INTO contacts (id, batch_id, phone_number, status, status_reason, outcome, lane, priority, attempts,
                              attempts_allowed, due_at, expires_at, finished_at, waits_for)
        VALUES (gen_random_uuid(), :batch, :phone, :status, :reason, :outcome, :lane, :priority, :attempts, :allowed,
                :due, :expires, :finished, :waits_for) RETURNING id
        """,
        batch=batch_id,
        phone=phone,
        status=contact.status,
        reason="suppressed" if contact.status == "skipped" else None,
        outcome=contact.outcome,
        lane=contact.lane + number,
        priority=contact.priority,
        attempts=contact.attempts,
        allowed=contact.attempts_allowed,
        due=now + contact.due_in,
        expires=None if contact.expires_in is None else now + contact.expires_in,
        finished=now if is_over else None,
        waits_for=contact.waits_for,
    )
    if contact.is_suppressed:
        world.sql(
            "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, :phone)",
            workspace=world.installed.workspace_id,
            phone=phone,
        )
    return ContactId(row.id)


def dispatched(stored: Stored) -> set[ContactId]:
    """Start and dispatch the batch until it can start no more calls; return the contacts that were claimed."""
    world = stored.world
    before = {row.contact_id for row in world.rows("SELECT contact_id FROM attempts")}
    tick(world.context, world.clock.now)
    again: tuple[BatchId, ...] = (stored.batch_id,)
    while again:
        again = dispatch(world.context, again, world.clock.now, world.rng).again
    return {row.contact_id for row in world.rows("SELECT contact_id FROM attempts")} - before


def opener(first: World, connections: Connections) -> Callable[[DateTime], Any]:
    """Return a function that opens a World on empty servers: `with open_world(now) as world`. `first`: one on them."""

    @contextmanager
    def opened(now: DateTime) -> Iterator[World]:
        first.flush_redis()
        first.sql(EMPTY)
        world = World(first.database_url, first.redis_url, clock=Clock(now), lent=connections)
        try:
            yield world
        finally:
            world.close()

    return opened


def assert_explained_as_dispatched(open_world: Callable[[DateTime], Any], state: State) -> None:
    """Store a state, explain it, dispatch it, and compare."""
    with open_world(state.now) as world:
        stored = store(world, state)
        explained, before = stored.explained(), stored.statuses()
        now = world.clock.now
        of_batch = explain_contacts(world.context, world.installed.workspace_id, stored.batch_id, now).explanation
        assert stored.explained() == explained
        listed = stored.listed_by_reason({one.reason.code if one.reason else None for one in explained.values()})
        claimed = dispatched(stored)
        assert {id_ for id_, one in explained.items() if one.verdict is Verdict.CALLABLE} == claimed
        assert of_batch.callable == len(claimed)
        reasons = Counter(one.reason.code for one in explained.values() if one.reason)
        assert {reason.blocked.code: reason.count for reason in of_batch.reasons} == reasons
        assert listed == {contact_id: one.reason.code if one.reason else None for contact_id, one in explained.items()}
        assert of_batch.callable + sum(reasons.values()) == of_batch.total == len(state.contacts)
        assert_ends_as_explained(stored, explained, before)


def assert_ends_as_explained(
    stored: Stored, explained: Mapping[ContactId, Explanation], before: Mapping[ContactId, Any]
) -> None:
    """Assert that what dispatch ends, or holds, is what explain has said."""
    after = stored.statuses()
    for contact_id, row in after.items():
        if row.status == "skipped" and before[contact_id].status != "skipped":
            assert explained[contact_id].verdict is Verdict.NEVER
            # Where there are several such gates, dispatch may meet another one first.
            assert SKIPPED[row.status_reason] in explained[contact_id].blocked
    progress = stored.world.progress(stored.batch_id)
    if progress.status == "failed":
        assert {one.verdict for one in explained.values()} <= {Verdict.NEVER}
    if held := {code for code, held_by in HELD_BY.items() if held_by == progress.held_by}:
        still_open = {contact_id for contact_id, row in after.items() if row.status == "pending"}
        assert all(held & set(explained[contact_id].blocked) for contact_id in still_open)
