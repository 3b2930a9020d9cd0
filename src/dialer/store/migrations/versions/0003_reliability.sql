-- The attempts of deleted batches that still count toward the daily caps of their numbers: Redis is rebuilt from these too.
CREATE TABLE deleted_attempts (
    id               uuid PRIMARY KEY,
    batch_id         uuid NOT NULL,
    phone_number_id  uuid NOT NULL REFERENCES phone_numbers ON DELETE CASCADE,
    trunk_id         uuid NOT NULL,
    utc_on           date NOT NULL
);
CREATE INDEX deleted_attempts_of_number_day ON deleted_attempts (phone_number_id, utc_on);
CREATE INDEX deleted_attempts_by_age ON deleted_attempts (utc_on);

-- What fails whenever it is tried, with its error: it is passed over, so that it cannot stop the others. `subject`: the
-- id of the report in the inbox, of the attempt, or of the batch. `attempt_id`: whose report it is.
CREATE TABLE set_aside (
    kind        text NOT NULL CHECK (kind IN ('report', 'attempt', 'batch')),
    subject     text NOT NULL,
    attempt_id  uuid,
    error       text NOT NULL,
    times       integer NOT NULL DEFAULT 1,
    since       timestamptz NOT NULL DEFAULT dialer_now(),
    last_at     timestamptz NOT NULL DEFAULT dialer_now(),
    PRIMARY KEY (kind, subject)
);
CREATE INDEX set_aside_of_attempt ON set_aside (attempt_id);

-- The circuit breaker of a trunk; no row: its last placement went well. `failures`: placements in a row that failed, the
-- last of them for `reason`. Once it is open no calls go out until `probe_at`, and then one at a time.
CREATE TABLE trunk_health (
    trunk_id       uuid PRIMARY KEY REFERENCES trunks ON DELETE CASCADE,
    failures       integer NOT NULL CHECK (failures > 0),
    reason         text NOT NULL,
    opened_at      timestamptz,
    probe_at       timestamptz,
    pause_seconds  double precision NOT NULL DEFAULT 0 CHECK (pause_seconds >= 0),
    CHECK ((opened_at IS NULL) = (probe_at IS NULL))
);

CREATE FUNCTION close_breaker() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM trunk_health WHERE trunk_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER close_breaker AFTER UPDATE ON trunks FOR EACH ROW EXECUTE FUNCTION close_breaker();

-- As before, and those that wait for a failing trunk.
CREATE OR REPLACE FUNCTION wake_held_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE batch_progress SET next_dispatch_at = dialer_now()
    WHERE batch_id IN (SELECT batch_id FROM batch_progress
                       WHERE held_by IN ('trunk', 'number', 'number_day', 'rate', 'no_active_number', 'agent_inactive',
                                         'trunk_failing')
                       ORDER BY batch_id FOR NO KEY UPDATE)
      AND next_dispatch_at IS NOT NULL;
    RETURN NULL;
END $$;
