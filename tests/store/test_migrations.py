"""Migrations on a database with live data: what the previous release left is put right, and its workers go on."""

from collections.abc import Iterator
from json import dumps
from random import Random
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, text

from dialer.domain.ids import AttemptId
from dialer.domain.roles import Role
from dialer.embedded import Servers
from dialer.engine.audit import audit
from dialer.engine.settle import settle
from dialer.errors import NotAuthenticated
from dialer.providers import registry
from dialer.service import batch_settings, demo_setup, keys, sessions
from dialer.service.batch_settings import Undo
from dialer.service.keys import NewKey
from dialer.store import attempts, bulk_changes, forecasts, numbers, people, quarantine
from dialer.store.database import Database, rows, run
from support.world import MONDAY, World

BEFORE = "0004"

LEDGER = """
INSERT INTO batches (id, workspace_id, name, agent_id, status, retry_failed, max_retry_attempts)
SELECT '018f0000-0000-7000-8000-000000000001', workspace_id, 'old', id, 'active', true, 1 FROM agents;
INSERT INTO contacts (id, batch_id, phone_number, status, attempts)
SELECT CAST('018f0000-0000-7000-8000-00000000010' || n AS uuid), b.id, '+1201555000' || n, 'dialing', 1
FROM batches b, generate_series(1, 3) AS n;
INSERT INTO attempts (id, batch_id, contact_id, trunk_id, phone_number_id, to_number, from_number, state, local_on,
                      utc_on, granted_at, created_at, rescue_at, allowed_by)
SELECT CAST(replace(CAST(c.id AS text), '00000010', '00000020') AS uuid), c.batch_id, c.id, n.trunk_id, n.id,
       c.phone_number, n.phone_number, 'answered', '2026-03-02', '2026-03-02', '2026-03-02 07:00Z', '2026-03-02 07:00Z',
       '2026-03-02 07:00Z', '{}'
FROM contacts c, (SELECT * FROM phone_numbers LIMIT 1) AS n;
INSERT INTO batch_days SELECT id, '2026-03-02', 3 FROM batches;
"""
# Of three reports the first was closed without a note, the second with one; the third came in during the upgrade.
REPORTS = """
INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at, received_at, outcome, settled_at, verdict)
SELECT trunk_id, id, id, 'ended', '2026-03-02 07:30Z', '2026-03-02 07:30Z', 'busy', CASE WHEN nth < 3 THEN now() END,
       CASE WHEN nth < 3 THEN 'set_aside' END
FROM (SELECT id, trunk_id, row_number() OVER (ORDER BY id) AS nth FROM attempts) AS a;
INSERT INTO set_aside (kind, subject, attempt_id, error)
SELECT 'report', CAST(id AS text), attempt_id, 'cached plan must not change result type' FROM inbox ORDER BY id LIMIT 2;
DELETE FROM set_aside WHERE subject = (SELECT min(subject) FROM set_aside);
INSERT INTO set_aside (kind, subject, error) VALUES ('batch', '018f0000-0000-7000-8000-000000000001', 'x');
"""
# The statements of the previous release, word for word.
NOTE = """
INSERT INTO set_aside (kind, subject, attempt_id, error) VALUES (:kind, :subject, :attempt, :error)
ON CONFLICT (kind, subject) DO UPDATE
SET error = excluded.error, times = set_aside.times + 1, last_at = dialer_now()
"""
FORGET = "DELETE FROM set_aside WHERE kind = :kind AND subject = ANY(:subjects)"
REMOVE = """
DELETE FROM set_aside WHERE (kind, subject) IN (
    SELECT kind, subject FROM set_aside WHERE kind = 'report' AND last_at < :before LIMIT :limit)
"""
RECEIVE = """
INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at, outcome, cause, talk_seconds, provider_call_id)
SELECT :trunk, e.* FROM unnest(
    CAST(:keys AS text[]), CAST(:attempts AS uuid[]), CAST(:kinds AS text[]), CAST(:ats AS timestamptz[]),
    CAST(:outcomes AS text[]), CAST(:causes AS text[]), CAST(:talk AS double precision[]),
    CAST(:call_ids AS text[])) AS e
ON CONFLICT (trunk_id, event_key) DO NOTHING
"""
TAKE = "SELECT * FROM inbox WHERE settled_at IS NULL ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED"
# Of the release before 0008: how it closes an attempt, and what it notes of its trunk.
CLOSE = """
UPDATE attempts a SET state = c.state, outcome = c.outcome, cause = c.cause, ended_at = dialer_now(), rescue_at = NULL
FROM unnest(CAST(:ids AS uuid[]), CAST(:state AS text[]), CAST(:outcome AS text[]), CAST(:cause AS text[]))
     AS c (id, state, outcome, cause) WHERE a.id = c.id
"""
FAILED = """
INSERT INTO trunk_health AS h (trunk_id, failures, reason) VALUES (:trunk, :failures, :reason)
ON CONFLICT (trunk_id) DO UPDATE SET failures = h.failures + excluded.failures, reason = excluded.reason
"""
WORKED = "DELETE FROM trunk_health WHERE trunk_id = :trunk RETURNING opened_at"


@pytest.fixture
def url(servers: Servers) -> Iterator[str]:
    """The URL of a database of its own, without any schema."""
    engine = create_engine(servers.database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrating"))
        connection.execute(text("CREATE DATABASE migrating"))
    yield urlsplit(servers.database_url)._replace(path="/migrating").geturl()
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE migrating WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def old(url: str) -> Iterator[Database]:
    """A database of the previous release with an installation in it."""
    database = Database(url)
    database.upgrade(BEFORE)
    demo_setup.install(database, {}, MONDAY, Random(1))
    yield database
    database.close()


def test_reports_that_were_closed_without_effect_are_open_again_and_the_rest_is_as_it_was(
    old: Database, servers: Servers
) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
        connection.exec_driver_sql(REPORTS)
    old.upgrade()
    with old.begin() as connection:
        assert rows(connection, "SELECT count(*) FROM inbox WHERE settled_at IS NULL AND due_at = received_at") == [
            (3,)
        ]
        assert [entry.kind for entry in quarantine.entries(connection)] == ["batch"]
    world = World(urlsplit(servers.database_url)._replace(path="/migrating").geturl(), servers.redis_url)
    try:
        assert settle(world.context, world.clock.now).ended == 3
        assert world.rows("SELECT DISTINCT outcome FROM attempts") == [("busy",)]
        assert "report_forgotten" not in {violation.rule for violation in audit(old, MONDAY).violations}
    finally:
        world.close()


def test_caps_that_there_are_count_all_calls_of_their_numbers(old: Database) -> None:
    with old.begin() as connection:
        (first, *_) = rows(connection, "SELECT id FROM phone_numbers")
        run(connection, "UPDATE phone_numbers SET max_calls_per_day = 5 WHERE id = :id", id=first.id)
    old.upgrade()
    with old.begin() as connection:
        numbers = rows(
            connection, "SELECT max_calls_per_day, capped_at = created_at AS is_since_ever FROM phone_numbers"
        )
    assert {(row.max_calls_per_day, row.is_since_ever) for row in numbers} == {(5, True), (None, None)}


def test_statements_of_the_previous_release_work_on_the_new_schema(old: Database) -> None:
    old.upgrade()
    attempt_id = AttemptId("018f0000-0000-7000-8000-000000000201")  # type: ignore[arg-type]
    with old.begin() as connection:
        for _ in range(2):
            run(connection, NOTE, kind="report", subject="7", attempt=attempt_id, error="x")
        run(connection, NOTE, kind="batch", subject="b", attempt=None, error="y")
        (report, batch) = quarantine.entries(connection)
        assert (report.tries, report.report_id, report.error_kind) == (2, 7, None)
        noted = rows(connection, "SELECT EXISTS (SELECT 1 FROM set_aside WHERE attempt_id = :id)", id=attempt_id)
        assert noted == [(True,)]
        assert run(connection, FORGET, kind="batch", subjects=["b"]) == 1
        assert run(connection, REMOVE, before=MONDAY.add(years=100), limit=10) == 1
        assert quarantine.entries(connection) == []
        assert batch.id > report.id


def test_a_worker_from_before_the_facts_of_calls_goes_on_and_its_attempts_are_counted(old: Database) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
    old.upgrade()
    with old.begin() as connection:
        ((trunk_id,),) = rows(connection, "SELECT id FROM trunks")
        ids = [row.id for row in rows(connection, "SELECT id FROM attempts")]
        ends = {"state": ["ended"] * 3, "outcome": ["failed"] * 3, "cause": ["x"] * 3}
        assert run(connection, CLOSE, ids=ids, **ends) == 3
        (facts,) = rows(connection, "SELECT DISTINCT sip_code, hung_up_by, is_counted FROM attempts")
        assert tuple(facts) == (None, None, True)
        for _ in range(2):
            run(connection, FAILED, trunk=trunk_id, failures=1, reason="x")
        (noted,) = rows(connection, "SELECT failures, of_calls FROM trunk_health")
        assert tuple(noted) == (2, False)
        assert len(rows(connection, WORKED, trunk=trunk_id)) == 1


def test_a_call_that_a_worker_from_before_webhooks_ends_is_told_to_an_endpoint(old: Database) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
    old.upgrade()
    with old.begin() as connection:
        run(
            connection,
            """
            INSERT INTO webhook_endpoints (id, workspace_id, url, events, secret)
            SELECT gen_random_uuid(), id, 'https://example.com', '{call.ended}', 's' FROM workspaces
            """,
        )
        ids = [row.id for row in rows(connection, "SELECT id FROM attempts ORDER BY id")]
        ends = {"state": ["ended"] * 3, "outcome": ["busy"] * 3, "cause": ["x"] * 3}
        assert run(connection, CLOSE, ids=ids, **ends) == 3
        told = rows(connection, "SELECT type, data ->> 'attempt_id', data ->> 'outcome' FROM webhook_deliveries")
        assert sorted(told) == [("call.ended", str(attempt_id), "busy") for attempt_id in ids]


def test_contacts_and_attempts_of_before_have_no_callback_and_an_expiry_that_never_comes_is_none(old: Database) -> None:
    old.upgrade("0013")
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
        for table in ("contacts", "batches"):
            assert run(connection, f"UPDATE {table} SET expires_at = 'infinity'") > 0
    old.upgrade()
    with old.begin() as connection:
        expiries = "SELECT expires_at FROM contacts UNION SELECT expires_at FROM batches"
        assert list(rows(connection, expiries)) == [(None,)]
        assert list(rows(connection, "SELECT DISTINCT callback_at, callback_refused FROM attempts")) == [(None, None)]
        assert list(rows(connection, "SELECT DISTINCT attempts_allowed FROM contacts")) == [(0,)]


def test_attempts_of_before_were_not_looked_up_and_a_worker_of_the_previous_release_goes_on(old: Database) -> None:
    old.upgrade("0013")
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
    old.upgrade()
    looked_up = "SELECT DISTINCT looked_up_at AS at FROM attempts"
    with old.begin() as connection:
        assert [row.at for row in rows(connection, looked_up)] == [None]
        # As the previous release takes overdue attempts.
        assert run(connection, "UPDATE attempts SET rescue_at = '2026-03-02 09:00Z' WHERE rescue_at IS NOT NULL") == 3
        taken = attempts.take_overdue(connection, MONDAY.add(hours=2), MONDAY.add(hours=3), 10)
        assert len(taken) == 3
        assert {row.looked_up_at for row in rows(connection, "SELECT looked_up_at FROM attempts")} == {
            MONDAY.add(hours=2)
        }


def test_a_report_that_a_process_of_the_previous_release_stores_is_settled_by_the_new_one_and_the_other_way_round(
    old: Database,
) -> None:
    old.upgrade()
    with old.begin() as connection:
        ((trunk_id,),) = rows(connection, "SELECT id FROM trunks")
        report = {
            "keys": ["k"], "attempts": [trunk_id], "kinds": ["ringing"], "ats": [MONDAY], "outcomes": [None],
            "causes": [None], "talk": [None], "call_ids": [None],
        }  # fmt: skip
        assert run(connection, RECEIVE, trunk=trunk_id, **report) == 1
        assert rows(connection, "SELECT due_at <= dialer_now() FROM inbox") == [(True,)]
        (row,) = rows(connection, TAKE, limit=10)
        assert row.event_key == "k"


def test_a_database_of_the_previous_release_is_refused_and_stays_as_it_is(old: Database) -> None:
    with pytest.raises(Exception, match="The database is at migration 0004, this version of Dialer needs"):
        old.check()
    assert old.revision() == BEFORE


# How the release before 0011 ends the contacts of a batch that has expired.
EXPIRE = """
UPDATE contacts SET status = 'skipped', status_reason = 'expired', finished_at = :now
WHERE batch_id = :id AND status IN ('pending', 'waiting')
"""
LISTS = """
INSERT INTO batches (id, workspace_id, name, agent_id, status, expires_at)
SELECT gen_random_uuid(), workspace_id, n.name, a.id, 'active', '2026-03-02 07:00Z'
FROM agents a, unnest(ARRAY['over', 'live', 'expired']) AS n (name);
INSERT INTO contacts (id, batch_id, phone_number)
SELECT gen_random_uuid(), b.id, '+1201555000' || n FROM batches b, generate_series(1, 3) AS n;
UPDATE batches SET status = 'cancelled' WHERE name = 'over';
UPDATE contacts SET status = 'waiting', status_reason = NULL, finished_at = NULL
WHERE batch_id = (SELECT id FROM batches WHERE name = 'over') AND phone_number <> '+12015550001';
"""


def test_bulk_changes_begin_with_the_upgrade_and_workers_of_the_previous_release_go_on(
    url: str, servers: Servers
) -> None:
    database = Database(url)
    database.upgrade("0010")
    demo_setup.install(database, {}, MONDAY, Random(1))
    with database.begin() as connection:
        connection.exec_driver_sql(LISTS)
    database.upgrade()
    with database.begin() as connection:
        ids = {row.name: row.id for row in rows(connection, "SELECT id, name FROM batches")}
        assert rows(connection, "SELECT batch_id FROM bulk_changes") == [(ids["over"],)]
        assert run(connection, "UPDATE batches SET status = 'cancelled' WHERE name = 'live'") == 1
        bulk_changes.begin(connection, [ids["expired"]])
        assert run(connection, EXPIRE, id=ids["expired"], now=MONDAY) == 3
    world = World(urlsplit(servers.database_url)._replace(path="/migrating").geturl(), servers.redis_url)
    try:
        world.clock.now = database.now()
        assert world.change_pages() == 5
        ends = world.rows("SELECT b.name, c.status, count(*) FROM contacts c JOIN batches b ON b.id = c.batch_id "
                          "GROUP BY 1, 2 ORDER BY 1")  # fmt: skip
        assert ends == [("expired", "skipped", 3), ("live", "cancelled", 3), ("over", "cancelled", 3)]
        assert world.value("SELECT count(*) FROM bulk_changes") == 0
        assert audit(database, world.clock.now).is_clean
    finally:
        world.close()
        database.close()


# How the release before 0012 deletes a batch.
DELETE_ATTEMPTS = (
    "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE batch_id = :id ORDER BY id FOR UPDATE)"
)


def test_a_batch_that_the_previous_release_deletes_is_removed_with_its_contacts(
    old: Database, servers: Servers
) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
    old.upgrade()
    with old.begin() as connection:
        ((batch_id,),) = rows(connection, "SELECT id FROM batches")
        assert run(connection, DELETE_ATTEMPTS, id=batch_id) == 3
        assert run(connection, "DELETE FROM batches WHERE id = :id", id=batch_id) == 1
    world = World(urlsplit(servers.database_url)._replace(path="/migrating").geturl(), servers.redis_url)
    try:
        world.clock.now = old.now()
        assert audit(old, world.clock.now).is_clean
        assert world.change_pages() == 3
        assert world.value("SELECT count(*) FROM contacts") == 0
    finally:
        world.close()


# How the release before 0014 suppresses a number.
SUPPRESS = (
    "INSERT INTO suppressions (id, workspace_id, phone_number) SELECT gen_random_uuid(), id, :phone FROM workspaces"
)


def test_contacts_of_numbers_that_the_previous_release_suppresses_are_skipped_in_pages(
    url: str, servers: Servers
) -> None:
    database = Database(url)
    database.upgrade("0013")
    demo_setup.install(database, {}, MONDAY, Random(1))
    with database.begin() as connection:
        connection.exec_driver_sql(LISTS)
        run(connection, "UPDATE batches SET expires_at = NULL")
        run(connection, SUPPRESS, phone="+12015550001")
    database.upgrade()
    with database.begin() as connection:
        assert run(connection, SUPPRESS, phone="+12015550002") == 1
        # Earlier suppressions are found by the claim alone, as before.
        assert rows(connection, "SELECT phone_numbers FROM suppressed_numbers") == [(["+12015550002"],)]
    world = World(urlsplit(servers.database_url)._replace(path="/migrating").geturl(), servers.redis_url)
    try:
        world.clock.now = database.now()
        world.change_pages()
        skipped = world.rows("SELECT phone_number, status_reason FROM contacts WHERE status = 'skipped'")
        assert skipped == [("+12015550002", "suppressed")] * 2
    finally:
        world.close()
        database.close()


# What agents of releases before 0010 named, and what a trunk of their workspace permits after the upgrade.
CONNECTIONS = [
    ("freeswitch", {"application": "transfer", "data": "1000 XML default"}, True),
    ("freeswitch", {"application": "park", "data": ""}, True),
    ("freeswitch", {"application": "transfer", "data": "system:reboot inline"}, False),
    ("freeswitch", {"application": "system", "data": "reboot"}, False),
    ("freeswitch", {"application": "bridge", "data": "sofia/gateway/p/+49900"}, False),
    ("freeswitch", {"application": "transfer", "data": "${x} XML default"}, False),
    ("freeswitch", {"application": "park", "data": "", "api_hangup_hook": "system x"}, False),
    ("freeswitch", None, False),
    ("asterisk", {"context": "agents", "exten": "s", "priority": 1}, True),
    ("asterisk", {"context": "agents", "exten": "*98"}, True),
    ("asterisk", {"app": "voice-bot"}, True),
    ("asterisk", {"context": "agents", "exten": "s", "priority": "x"}, False),
    ("asterisk", {"context": "a,b", "exten": "s", "priority": 1}, False),
    ("asterisk", {"app": "bot,${SHELL(x)}"}, False),
    ("asterisk", ["app"], False),
]
CONFIGS = {
    "freeswitch": {"host": "h", "password": "env:TRUNK_P", "dial_string": "sofia/gateway/p/{number}"},
    "asterisk": {"url": "http://h", "username": "u", "password": "env:TRUNK_P", "endpoint": "PJSIP/{number}@p"},
}


@pytest.mark.parametrize("provider", ["freeswitch", "asterisk"])
def test_plain_connections_of_agents_stay_permitted_and_those_that_could_do_anything_do_not(
    url: str, provider: str
) -> None:
    database = Database(url)
    database.upgrade("0009")
    demo_setup.install(database, {}, MONDAY, Random(1))
    config = CONFIGS[provider]
    with database.begin() as connection:
        run(connection, "UPDATE trunks SET provider = :of, config = CAST(:to AS jsonb)", of=provider, to=dumps(config))
        for name, (of, place, _) in enumerate(CONNECTIONS):
            run(
                connection,
                """
                INSERT INTO agents (id, workspace_id, name, connection)
                SELECT gen_random_uuid(), workspace_id, :name, CAST(:connection AS jsonb) FROM trunks
                """,
                name=str(name),
                connection=dumps({of: place}),
            )
    database.upgrade()
    with database.begin() as connection:
        (trunk,) = numbers.reporting_trunks(connection)
        # The previous release reads this column alone, and refuses what it does not know.
        assert rows(connection, "SELECT config FROM trunks") == [(config,)]
        for of, place, is_permitted in CONNECTIONS:
            if of == provider and isinstance(place, dict):
                assert (registry.agent_refusal(trunk, place) is None) == is_permitted, place
        run(connection, 'UPDATE trunks SET config = config || \'{"context": "agents"}\'')
        (trunk,) = numbers.reporting_trunks(connection)
        assert trunk.config == {**config, "context": "agents"}
    database.close()


TWO_CALLS = """
INSERT INTO batches (id, workspace_id, name, agent_id, status)
SELECT gen_random_uuid(), workspace_id, n.name, id, 'active'
FROM agents, unnest(ARRAY['one', 'two', 'three']) AS n (name);
INSERT INTO contacts (id, batch_id, phone_number, status)
SELECT gen_random_uuid(), id, '+12015550000', 'dialing' FROM batches;
"""
# How the release before 0018 writes the attempt of a claim.
RESERVE = """
INSERT INTO attempts (id, batch_id, contact_id, trunk_id, phone_number_id, to_number, from_number, state, local_on,
                      utc_on, granted_at, created_at, rescue_at, allowed_by)
SELECT gen_random_uuid(), c.batch_id, c.id, n.trunk_id, n.id, c.phone_number, n.phone_number, 'reserved', '2026-03-02',
       '2026-03-02', dialer_now(), dialer_now(), dialer_now(), '{}'
FROM contacts c JOIN batches b ON b.id = c.batch_id CROSS JOIN LATERAL (SELECT * FROM phone_numbers LIMIT 1) AS n
WHERE b.name = ANY(:names)
"""
CALLS = "SELECT workspace_id FROM attempts ORDER BY workspace_id NULLS LAST"
END = "UPDATE attempts SET state = 'ended', outcome = 'busy', ended_at = dialer_now(), rescue_at = NULL"


def test_a_person_may_be_in_two_calls_when_the_rule_begins_and_workers_of_the_previous_release_go_on(url: str) -> None:
    database = Database(url)
    database.upgrade("0013")
    demo_setup.install(database, {}, MONDAY, Random(1))
    with database.begin() as connection:
        connection.exec_driver_sql(TWO_CALLS)
        assert run(connection, RESERVE, names=["one", "two"]) == 2
    database.upgrade()
    with database.begin() as connection:
        ((workspace_id,),) = rows(connection, "SELECT id FROM workspaces")
        assert rows(connection, CALLS) == [(workspace_id,), (None,)]
        assert run(connection, RESERVE, names=["three"]) == 1
        assert rows(connection, CALLS) == [(workspace_id,), (None,), (None,)]
        assert run(connection, END) == 3
        assert run(connection, RESERVE, names=["one", "two", "three"]) == 3
        assert rows(connection, f"{CALLS} LIMIT 2") == [(workspace_id,), (workspace_id,)]
    database.close()


LIVE_AND_OVER = """
INSERT INTO batches (id, workspace_id, name, agent_id, status, max_concurrent_calls)
SELECT gen_random_uuid(), workspace_id, n.name, a.id, 'active', 7
FROM agents a, unnest(ARRAY['live', 'over']) AS n (name);
INSERT INTO batch_numbers SELECT b.id, 1, n.id FROM batches b, (SELECT id FROM phone_numbers LIMIT 1) AS n;
UPDATE batches SET status = 'cancelled' WHERE name = 'over';
"""
# How the release before 0015 writes a changed draft.
EDIT = "UPDATE batches SET max_concurrent_calls = 3, priority = 2 WHERE name = 'live'"
LATEST = "SELECT settings FROM batch_settings ORDER BY version DESC LIMIT 1"
REMOVE_NUMBERS = "DELETE FROM batch_numbers WHERE batch_id = (SELECT id FROM batches WHERE name = 'live')"


def test_live_batches_have_a_version_to_go_back_to_and_changes_of_the_previous_release_are_noted(
    url: str, servers: Servers
) -> None:
    database = Database(url)
    database.upgrade("0013")
    demo_setup.install(database, {}, MONDAY, Random(1))
    with database.begin() as connection:
        connection.exec_driver_sql(LIVE_AND_OVER)
    database.upgrade()
    with database.begin() as connection:
        assert rows(connection, "SELECT DISTINCT source FROM batch_history") == [(None,)]
        (first,) = rows(connection, "SELECT batch_id, settings FROM batch_settings")
        settings = first.settings
        assert (settings["name"], settings["max_concurrent_calls"], len(settings["phone_number_ids"])) == ("live", 7, 1)
        run(connection, EDIT)
        run(connection, REMOVE_NUMBERS)
        run(connection, "UPDATE batches SET status = 'paused' WHERE name = 'live'")
        run(connection, "UPDATE batches SET archived_at = dialer_now() WHERE name = 'over'")
    with database.begin() as connection:
        # Columns that are newer than the first version are in it, too, as they were before the change.
        settings = rows(connection, "SELECT settings FROM batch_settings ORDER BY version LIMIT 1")[0].settings
        newer: dict[str, object] = {"calling_hours": None, "holidays": None, "person_limits": [], "labels": []}
        assert settings == first.settings | newer
        changed = rows(connection, LATEST)[0].settings
        assert changed == settings | {"max_concurrent_calls": 3, "priority": 2, "phone_number_ids": []}
        assert rows(connection, "SELECT source FROM batch_history WHERE to_status = 'paused'") == [("engine",)]
    world = World(urlsplit(servers.database_url)._replace(path="/migrating").geturl(), servers.redis_url)
    try:
        batch_settings.undo(world.db, world.installed.workspace_id, first.batch_id, Undo(), MONDAY)
        assert world.value(LATEST) == settings
        assert world.value("SELECT count(*) FROM batch_settings") == 3
    finally:
        world.close()
        database.close()


def test_forecasts_begin_with_the_upgrade_and_the_previous_release_deletes_their_batches(old: Database) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
        run(connection, "UPDATE batches SET status = 'paused'")
        run(connection, "DELETE FROM attempts")
    old.upgrade()
    with old.begin() as connection:
        (batch,) = rows(connection, "SELECT id, workspace_id, version FROM batches")
        values = {"id": batch.id, "batch_id": batch.id, "batch_version": batch.version, "contacts": 3}
        ends = {"p10": None, "p50": MONDAY, "p90": MONDAY}
        forecasts.insert(connection, values | ends | {"made_at": MONDAY, "starts_at": MONDAY, "assumed": "{}"})
        assert forecasts.past(connection, batch.workspace_id) == []
        # The previous release knows nothing of forecasts.
        run(connection, "DELETE FROM batches WHERE id = :id", id=batch.id)
        assert rows(connection, "SELECT id FROM forecasts") == []


def test_a_key_of_the_previous_release_opens_the_console_and_can_be_deleted(old: Database) -> None:
    with old.begin() as connection:
        (workspace, *_) = rows(connection, "SELECT id FROM workspaces")
    key = keys.create(old, workspace.id, NewKey(role=Role.VIEWER), MONDAY, Random(1))
    old.upgrade()
    secret = sessions.sign_in(old, key["key"])
    assert sessions.find(old, secret).identity.key_id == key["id"]
    with old.begin() as connection:
        assert run(connection, "DELETE FROM api_keys WHERE id = :id", id=key["id"]) == 1
    with pytest.raises(NotAuthenticated):
        sessions.find(old, secret)


def test_a_person_of_before_can_be_erased_and_opt_outs_of_the_previous_release_suppress_only_numbers(
    old: Database,
) -> None:
    with old.begin() as connection:
        connection.exec_driver_sql(LEDGER)
    old.upgrade()
    with old.begin() as connection:
        whose = rows(connection, "SELECT workspace_id FROM batches")[0].workspace_id
        contacts = people.find_contacts(connection, whose, "+12015550001")
        assert people.lock_calls(connection, list(contacts))
        run(connection, "UPDATE attempts SET state = 'ended', outcome = 'busy', ended_at = now(), rescue_at = NULL")
        assert not people.lock_calls(connection, list(contacts))
        assert people.erase_contacts(connection, list(contacts)) == people.erase_calls(connection, list(contacts)) == 1
        run(connection, "UPDATE attempts SET opt_out = true")
        suppressed = rows(connection, "SELECT phone_number FROM suppressions ORDER BY phone_number")
        assert suppressed == [("+12015550002",), ("+12015550003",)]


FOLDERS = """
INSERT INTO contact_folders (id, workspace_id, name, updated_at)
SELECT gen_random_uuid(), id, n.name, '2026-01-01Z' FROM workspaces, unnest(ARRAY['full', 'empty']) AS n (name);
"""
# How the release before 0026 stores contacts in a folder.
STORE_IN_FOLDER = """
INSERT INTO folder_contacts (id, folder_id, phone_number)
SELECT gen_random_uuid(), f.id, '+1201555' || 1000 + n FROM contact_folders f, generate_series(1, :count) AS n
WHERE f.name = 'full' ON CONFLICT (folder_id, phone_number) DO NOTHING
"""


def test_the_contacts_of_folders_are_counted_also_those_that_the_previous_release_stores(old: Database) -> None:
    old.upgrade("0025")
    with old.begin() as connection:
        connection.exec_driver_sql(FOLDERS)
        assert run(connection, STORE_IN_FOLDER, count=3) == 3
    old.upgrade()

    def counts() -> dict[str, tuple[int, bool]]:
        query = "SELECT name, contacts, updated_at = '2026-01-01Z' AS is_unchanged FROM contact_folders"
        return {row.name: (row.contacts, row.is_unchanged) for row in rows(connection, query)}

    with old.begin() as connection:
        assert counts() == {"empty": (0, True), "full": (3, True)}
        assert run(connection, STORE_IN_FOLDER, count=5) == 2
        assert run(connection, "DELETE FROM folder_contacts WHERE phone_number = '+12015551001'") == 1
        assert counts() == {"empty": (0, True), "full": (4, True)}
        assert run(connection, "UPDATE contact_folders SET name = 'new' WHERE name = 'empty'") == 1
        assert counts() == {"new": (0, False), "full": (4, True)}
        assert rows(connection, "SELECT DISTINCT timezone FROM workspaces") == [("UTC",)]
