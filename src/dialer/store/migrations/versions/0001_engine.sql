-- The engine's tables. States and their transitions are those of dialer.domain.states; a test holds the two together.
-- Lock order, everywhere: batches (by id), attempts (by id), batch_progress (by batch id), contacts. The counting
-- trigger takes batch_progress after contacts, so a transaction that writes contacts of known batches locks their
-- batch_progress rows first.

-- The clock of the ledger. A session may set dialer.now to live on a virtual clock.
CREATE FUNCTION dialer_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(nullif(current_setting('dialer.now', true), '')::timestamptz, clock_timestamp())
$$;

CREATE TABLE workspaces (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255),
    created_at  timestamptz NOT NULL DEFAULT dialer_now()
);

CREATE TABLE trunks (
    id                    uuid PRIMARY KEY,
    workspace_id          uuid NOT NULL REFERENCES workspaces,
    name                  text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    provider              text NOT NULL,
    config                jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object'),
    calls_per_second      numeric(8, 3) CHECK (calls_per_second > 0),
    max_concurrent_calls  integer CHECK (max_concurrent_calls >= 1),
    status                text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    created_at            timestamptz NOT NULL DEFAULT dialer_now(),
    UNIQUE (workspace_id, name)
);

CREATE TABLE agents (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    connection    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(connection) = 'object'),
    created_at    timestamptz NOT NULL DEFAULT dialer_now(),
    UNIQUE (workspace_id, name)
);

CREATE TABLE phone_numbers (
    id                    uuid PRIMARY KEY,
    workspace_id          uuid NOT NULL REFERENCES workspaces,
    phone_number          text NOT NULL CHECK (phone_number ~ '^\+[1-9][0-9]{1,14}$'),
    trunk_id              uuid NOT NULL REFERENCES trunks,
    agent_id              uuid REFERENCES agents,
    status                text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    max_concurrent_calls  integer CHECK (max_concurrent_calls >= 1),
    max_calls_per_day     integer CHECK (max_calls_per_day >= 1),
    created_at            timestamptz NOT NULL DEFAULT dialer_now(),
    UNIQUE (workspace_id, phone_number)
);
CREATE INDEX phone_numbers_of_agent ON phone_numbers (agent_id, id);
CREATE INDEX phone_numbers_of_trunk ON phone_numbers (trunk_id);

CREATE TABLE suppressions (
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    phone_number  text NOT NULL CHECK (phone_number ~ '^\+[1-9][0-9]{1,14}$'),
    reason        text,
    created_at    timestamptz NOT NULL DEFAULT dialer_now(),
    PRIMARY KEY (workspace_id, phone_number)
);

-- Outcome -> minutes, for the outcomes that are ever retried.
CREATE FUNCTION are_retry_delays(delays jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_typeof(delays) = 'object' AND NOT EXISTS (
        SELECT 1 FROM jsonb_each(delays)
        WHERE key NOT IN ('busy', 'no_answer', 'failed', 'rejected', 'machine')
           OR CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric NOT BETWEEN 0 AND 10080 ELSE true END)
$$;

-- What operators edit and dispatch locks. What changes every second is in batch_progress.
CREATE TABLE batches (
    id                        uuid PRIMARY KEY,
    workspace_id              uuid NOT NULL REFERENCES workspaces,
    name                      text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    agent_id                  uuid NOT NULL REFERENCES agents,
    phone_rotation_strategy   text NOT NULL DEFAULT 'random'
                              CHECK (phone_rotation_strategy IN ('random', 'sequential', 'round_robin')),
    contact_source            text NOT NULL DEFAULT 'csv' CHECK (contact_source IN ('csv', 'folder', 'manual')),
    schedule_type             text NOT NULL DEFAULT 'immediate' CHECK (schedule_type IN ('immediate', 'scheduled')),
    scheduled_at              timestamptz,
    timezone                  text NOT NULL DEFAULT 'UTC',
    start_time                time,
    end_time                  time,
    working_days              smallint[] NOT NULL DEFAULT '{1,2,3,4,5}'
                              CHECK (cardinality(working_days) BETWEEN 1 AND 7 AND working_days <@ '{1,2,3,4,5,6,7}'),
    excluded_dates            date[] NOT NULL DEFAULT '{}',
    max_concurrent_calls      integer NOT NULL DEFAULT 10 CHECK (max_concurrent_calls BETWEEN 1 AND 100),
    max_calls_per_day         integer CHECK (max_calls_per_day >= 1),
    retry_failed              boolean NOT NULL DEFAULT false,
    max_retry_attempts        smallint NOT NULL DEFAULT 0 CHECK (max_retry_attempts BETWEEN 0 AND 3),
    retry_delays              jsonb NOT NULL DEFAULT '{}' CHECK (are_retry_delays(retry_delays)),
    retry_machine             boolean NOT NULL DEFAULT false,
    respect_contact_timezone  boolean NOT NULL DEFAULT false,
    sticky_caller_id          boolean NOT NULL DEFAULT false,
    expires_at                timestamptz,
    priority                  smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 10),
    default_region            text CHECK (default_region ~ '^[A-Z]{2}$'),
    metadata                  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    status                    text NOT NULL DEFAULT 'draft'
                              CHECK (status IN ('draft', 'scheduled', 'active', 'paused',
                                                'completed', 'cancelled', 'failed')),
    status_reason             text,
    version                   integer NOT NULL DEFAULT 1,
    created_at                timestamptz NOT NULL DEFAULT dialer_now(),
    updated_at                timestamptz NOT NULL DEFAULT dialer_now(),
    started_at                timestamptz,
    completed_at              timestamptz,
    archived_at               timestamptz,
    CHECK (start_time IS DISTINCT FROM end_time OR start_time IS NULL),
    CHECK (schedule_type = 'immediate' OR scheduled_at IS NOT NULL),
    CHECK ((status IN ('completed', 'cancelled', 'failed')) = (completed_at IS NOT NULL)),
    CHECK (archived_at IS NULL OR completed_at IS NOT NULL),
    CHECK (status <> 'scheduled' OR scheduled_at IS NOT NULL)
);
CREATE INDEX batches_to_archive ON batches (completed_at) WHERE archived_at IS NULL;
CREATE INDEX batches_of_workspace ON batches (workspace_id, id DESC);
CREATE INDEX batches_to_start ON batches (scheduled_at) WHERE status = 'scheduled';

CREATE TABLE batch_numbers (
    batch_id         uuid NOT NULL REFERENCES batches ON DELETE CASCADE,
    position         smallint NOT NULL,
    phone_number_id  uuid NOT NULL REFERENCES phone_numbers,
    PRIMARY KEY (batch_id, position),
    UNIQUE (batch_id, phone_number_id)
);

-- `next_dispatch_at`: when tick must hand the batch to dispatch; NULL: only an event (a freed slot, a retry, an
-- operator) can change anything. `held_by`: what held it back when dispatch last looked.
CREATE TABLE batch_progress (
    batch_id          uuid PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    next_dispatch_at  timestamptz,
    held_by           text,
    total             integer NOT NULL DEFAULT 0,
    pending           integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
    waiting           integer NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    dialing           integer NOT NULL DEFAULT 0 CHECK (dialing >= 0),
    completed         integer NOT NULL DEFAULT 0 CHECK (completed >= 0),
    failed            integer NOT NULL DEFAULT 0 CHECK (failed >= 0),
    skipped           integer NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    cancelled         integer NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
    drained_at        timestamptz,
    CHECK (total = pending + waiting + dialing + completed + failed + skipped + cancelled)
);
CREATE INDEX batch_progress_due ON batch_progress (next_dispatch_at) WHERE next_dispatch_at IS NOT NULL;
-- The batches that wait for room which another batch may free.
CREATE INDEX batch_progress_held ON batch_progress (held_by, dialing) WHERE held_by IN ('trunk', 'number', 'rate');

CREATE TABLE batch_history (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id     uuid NOT NULL REFERENCES batches ON DELETE CASCADE,
    at           timestamptz NOT NULL DEFAULT dialer_now(),
    from_status  text,
    to_status    text NOT NULL,
    reason       text,
    by           text NOT NULL DEFAULT session_user
);
CREATE INDEX batch_history_of_batch ON batch_history (batch_id, id);

-- Attempts that count toward the daily cap, kept in the claim's own transaction.
CREATE TABLE batch_days (
    batch_id  uuid NOT NULL REFERENCES batches ON DELETE CASCADE,
    local_on  date NOT NULL,
    attempts  integer NOT NULL CHECK (attempts >= 0),
    PRIMARY KEY (batch_id, local_on)
);

-- `lane`: what must hold for this contact beyond what holds for its batch: the zones that must be open and the number
-- that must be used. Contacts of one lane are called in the order priority, due_at, position.
CREATE TABLE contacts (
    id               uuid PRIMARY KEY,
    batch_id         uuid NOT NULL REFERENCES batches ON DELETE CASCADE,
    position         bigint GENERATED ALWAYS AS IDENTITY,
    phone_number     text NOT NULL CHECK (phone_number ~ '^\+[1-9][0-9]{1,14}$'),
    name             text,
    timezone         text,
    priority         smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 10),
    external_id      text,
    expires_at       timestamptz,
    variables        jsonb NOT NULL DEFAULT '{}',
    lane             text NOT NULL DEFAULT '',
    status           text NOT NULL DEFAULT 'pending'
                     CHECK (status IN ('pending', 'waiting', 'dialing', 'completed', 'failed', 'skipped', 'cancelled')),
    status_reason    text,
    outcome          text,
    due_at           timestamptz NOT NULL DEFAULT dialer_now(),
    attempts         smallint NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    refusals         smallint NOT NULL DEFAULT 0 CHECK (refusals >= 0),
    first_number_id  uuid REFERENCES phone_numbers,
    created_at       timestamptz NOT NULL DEFAULT dialer_now(),
    finished_at      timestamptz,
    UNIQUE (batch_id, phone_number),
    CHECK ((status IN ('completed', 'failed', 'skipped', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (status NOT IN ('completed', 'failed') OR outcome IS NOT NULL),
    CHECK (status <> 'skipped' OR status_reason IS NOT NULL)
);
CREATE INDEX contacts_to_call ON contacts (batch_id, lane, priority, due_at, position) WHERE status = 'pending';
CREATE INDEX contacts_to_retry ON contacts (due_at) WHERE status = 'waiting';
CREATE INDEX contacts_by_status ON contacts (batch_id, status);

-- The ledger. A row exists before the network is asked, and says by what it was allowed.
CREATE TABLE attempts (
    id                uuid PRIMARY KEY,
    batch_id          uuid NOT NULL REFERENCES batches ON DELETE CASCADE,
    contact_id        uuid NOT NULL REFERENCES contacts ON DELETE CASCADE,
    trunk_id          uuid NOT NULL REFERENCES trunks,
    phone_number_id   uuid NOT NULL REFERENCES phone_numbers,
    to_number         text NOT NULL,
    from_number       text NOT NULL,
    state             text NOT NULL
                      CHECK (state IN ('reserved', 'unclear', 'placed', 'ringing', 'answered', 'ended', 'refused')),
    outcome           text CHECK (outcome IN ('answered', 'machine', 'busy', 'no_answer', 'rejected',
                                              'invalid_number', 'failed', 'cancelled', 'unknown')),
    cause             text,
    provider_call_id  text,
    local_on          date NOT NULL,
    utc_on            date NOT NULL,
    granted_at        timestamptz NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT dialer_now(),
    placed_at         timestamptz,
    ringing_at        timestamptz,
    answered_at       timestamptz,
    ended_at          timestamptz,
    talk_seconds      double precision CHECK (talk_seconds >= 0),
    rescue_at         timestamptz,
    allowed_by        jsonb NOT NULL,
    CHECK ((state = 'ended') = (outcome IS NOT NULL)),
    CHECK ((state IN ('ended', 'refused')) = (ended_at IS NOT NULL)),
    CHECK ((state IN ('ended', 'refused')) = (rescue_at IS NULL)),
    CHECK (ended_at >= created_at)
);
-- P1: a contact has at most one live attempt, whatever the code above believes.
CREATE UNIQUE INDEX attempts_one_live_per_contact ON attempts (contact_id)
    WHERE state IN ('reserved', 'unclear', 'placed', 'ringing', 'answered');
CREATE INDEX attempts_to_rescue ON attempts (rescue_at) WHERE rescue_at IS NOT NULL;
CREATE INDEX attempts_of_contact ON attempts (contact_id, id);
CREATE INDEX attempts_of_batch ON attempts (batch_id, id);
CREATE INDEX attempts_of_number_day ON attempts (phone_number_id, utc_on);

-- The attempts of batches that ended long ago, out of the way of those that are being called.
CREATE TABLE attempts_archive (LIKE attempts, PRIMARY KEY (id));
CREATE INDEX attempts_archive_of_batch ON attempts_archive (batch_id, id);

-- What the providers reported, before anything is decided about it.
CREATE TABLE inbox (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trunk_id          uuid NOT NULL REFERENCES trunks,
    event_key         text NOT NULL,
    attempt_id        uuid NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('ringing', 'answered', 'ended')),
    at                timestamptz NOT NULL,
    outcome           text,
    cause             text,
    talk_seconds      double precision,
    provider_call_id  text,
    received_at       timestamptz NOT NULL DEFAULT dialer_now(),
    settled_at        timestamptz,
    verdict           text,
    UNIQUE (trunk_id, event_key),
    CHECK ((kind = 'ended') = (outcome IS NOT NULL)),
    CHECK ((settled_at IS NULL) = (verdict IS NULL))
);
CREATE INDEX inbox_to_settle ON inbox (id) WHERE settled_at IS NULL;

-- The memory of Redis that counts: leases granted under another epoch are void.
CREATE TABLE lease_epoch (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch     uuid
);
INSERT INTO lease_epoch DEFAULT VALUES;

CREATE FUNCTION batch_may_become(old_status text, new_status text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE old_status
        WHEN 'draft'     THEN new_status IN ('scheduled', 'active', 'cancelled')
        WHEN 'scheduled' THEN new_status IN ('active', 'paused', 'cancelled', 'failed')
        WHEN 'active'    THEN new_status IN ('paused', 'completed', 'cancelled', 'failed')
        WHEN 'paused'    THEN new_status IN ('scheduled', 'active', 'cancelled', 'failed')
        ELSE false
    END
$$;

-- Guards and times every change of a batch, also one that an operator makes in SQL (P4).
CREATE FUNCTION guard_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status THEN
        IF NOT batch_may_become(OLD.status, NEW.status) THEN
            RAISE EXCEPTION 'Batch % is %; it cannot become %', OLD.id, OLD.status, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_transition', TABLE = 'batches';
        END IF;
        IF OLD.status = 'paused' AND NEW.status IN ('active', 'scheduled') THEN
            NEW.status := CASE WHEN NEW.schedule_type = 'scheduled' AND NEW.scheduled_at > dialer_now()
                               THEN 'scheduled' ELSE 'active' END;
        END IF;
        IF NEW.status_reason IS NOT DISTINCT FROM OLD.status_reason THEN
            NEW.status_reason := NULL;
        END IF;
        IF NEW.status = 'active' THEN
            NEW.started_at := coalesce(OLD.started_at, dialer_now());
        END IF;
        IF NEW.status IN ('completed', 'cancelled', 'failed') THEN
            NEW.completed_at := dialer_now();
        END IF;
    END IF;
    -- The lanes of contacts are made of these when they are loaded.
    IF (NEW.respect_contact_timezone, NEW.sticky_caller_id) <> (OLD.respect_contact_timezone, OLD.sticky_caller_id)
       AND EXISTS (SELECT 1 FROM contacts WHERE batch_id = OLD.id) THEN
        RAISE EXCEPTION 'Batch % has contacts; respect_contact_timezone and sticky_caller_id are set before', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_has_contacts', TABLE = 'batches';
    END IF;
    NEW.version := OLD.version + 1;
    NEW.updated_at := dialer_now();
    RETURN NEW;
END $$;
CREATE TRIGGER guard_batch BEFORE UPDATE ON batches FOR EACH ROW EXECUTE FUNCTION guard_batch();

CREATE FUNCTION start_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO batch_progress (batch_id) VALUES (NEW.id);
    INSERT INTO batch_history (batch_id, to_status, reason) VALUES (NEW.id, NEW.status, NEW.status_reason);
    RETURN NULL;
END $$;
CREATE TRIGGER start_batch AFTER INSERT ON batches FOR EACH ROW EXECUTE FUNCTION start_batch();

-- Wakes active batches, so that new settings are obeyed at once; puts any other to sleep; a final one lets go of the
-- contacts that nobody is calling. Once a statement, so that it keeps the order of locks however many batches an
-- operator changes at once.
CREATE FUNCTION follow_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM batch_progress WHERE batch_id IN (SELECT id FROM changed_to) ORDER BY batch_id FOR NO KEY UPDATE;
    UPDATE batch_progress p SET
        next_dispatch_at = CASE WHEN n.status = 'active' THEN dialer_now() END,
        held_by = NULL,
        drained_at = CASE WHEN n.status = o.status THEN p.drained_at
                          WHEN n.status IN ('paused', 'completed', 'cancelled', 'failed') AND p.dialing = 0
                          THEN dialer_now() END
    FROM changed_to n JOIN changed_from o USING (id) WHERE p.batch_id = n.id;
    INSERT INTO batch_history (batch_id, from_status, to_status, reason)
        SELECT n.id, o.status, n.status, n.status_reason FROM changed_to n JOIN changed_from o USING (id)
        WHERE n.status <> o.status ORDER BY n.id;
    UPDATE contacts c SET status = 'cancelled', status_reason = 'batch_' || n.status, finished_at = dialer_now()
    FROM changed_to n JOIN changed_from o USING (id)
    WHERE c.batch_id = n.id AND c.status IN ('pending', 'waiting')
      AND n.status <> o.status AND n.status IN ('completed', 'cancelled', 'failed');
    RETURN NULL;
END $$;
CREATE TRIGGER follow_batches AFTER UPDATE ON batches
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION follow_batches();

-- Wakes the batches that wait for room, or for a number or agent they can use, when an operator changes one of these.
CREATE FUNCTION wake_held_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE batch_progress SET next_dispatch_at = dialer_now()
    WHERE batch_id IN (SELECT batch_id FROM batch_progress
                       WHERE held_by IN ('trunk', 'number', 'number_day', 'rate', 'no_active_number', 'agent_inactive')
                       ORDER BY batch_id FOR NO KEY UPDATE)
      AND next_dispatch_at IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER wake_held_batches AFTER UPDATE ON phone_numbers FOR EACH STATEMENT EXECUTE FUNCTION wake_held_batches();
CREATE TRIGGER wake_held_batches AFTER UPDATE ON trunks FOR EACH STATEMENT EXECUTE FUNCTION wake_held_batches();
CREATE TRIGGER wake_held_batches AFTER UPDATE ON agents FOR EACH STATEMENT EXECUTE FUNCTION wake_held_batches();

-- A daily cap or a rate that is new counts calls that Redis has not: leases are void until it is rebuilt from the ledger.
CREATE FUNCTION void_leases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lease_epoch SET epoch = NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER void_leases AFTER UPDATE OF max_calls_per_day ON phone_numbers FOR EACH ROW
    WHEN (OLD.max_calls_per_day IS NULL AND NEW.max_calls_per_day IS NOT NULL) EXECUTE FUNCTION void_leases();
CREATE TRIGGER void_leases AFTER UPDATE OF calls_per_second ON trunks FOR EACH ROW
    WHEN (NEW.calls_per_second IS DISTINCT FROM OLD.calls_per_second) EXECUTE FUNCTION void_leases();

-- Keeps the counts of every batch true in the transaction that changes a contact, whoever changes it, notes when a
-- stopped batch has drained, and refuses contacts for a batch that is over. The row of batch_progress is where imports,
-- cancellations and completions of one batch meet. `delta`: status -> how many contacts more or fewer have it.
CREATE FUNCTION add_to_counts(batch uuid, delta jsonb) RETURNS void LANGUAGE sql AS $$
    UPDATE batch_progress SET
        pending   = pending   + coalesce((delta ->> 'pending')::integer, 0),
        waiting   = waiting   + coalesce((delta ->> 'waiting')::integer, 0),
        dialing   = dialing   + coalesce((delta ->> 'dialing')::integer, 0),
        completed = completed + coalesce((delta ->> 'completed')::integer, 0),
        failed    = failed    + coalesce((delta ->> 'failed')::integer, 0),
        skipped   = skipped   + coalesce((delta ->> 'skipped')::integer, 0),
        cancelled = cancelled + coalesce((delta ->> 'cancelled')::integer, 0),
        total     = total     + (SELECT sum(value::integer) FROM jsonb_each_text(delta))
    WHERE batch_id = batch
$$;

CREATE FUNCTION count_contacts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    d record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        FOR d IN SELECT batch_id, jsonb_object_agg(status, n) AS delta
                 FROM (SELECT batch_id, status, count(*) AS n FROM changed_to GROUP BY 1, 2) AS s
                 GROUP BY 1 ORDER BY 1
        LOOP
            PERFORM add_to_counts(d.batch_id, d.delta);
            PERFORM welcome_contacts(d.batch_id);
        END LOOP;
    ELSIF TG_OP = 'DELETE' THEN
        FOR d IN SELECT batch_id, jsonb_object_agg(status, -n) AS delta
                 FROM (SELECT batch_id, status, count(*) AS n FROM changed_from GROUP BY 1, 2) AS s
                 GROUP BY 1 ORDER BY 1
        LOOP
            PERFORM add_to_counts(d.batch_id, d.delta);
        END LOOP;
    ELSE
        FOR d IN SELECT batch_id, jsonb_object_agg(status, n) AS delta
                 FROM (SELECT batch_id, status, sum(n) AS n
                       FROM (SELECT batch_id, status, count(*) AS n FROM changed_to GROUP BY 1, 2
                             UNION ALL SELECT batch_id, status, -count(*) FROM changed_from GROUP BY 1, 2) AS moved
                       GROUP BY 1, 2 HAVING sum(n) <> 0) AS s
                 GROUP BY 1 ORDER BY 1
        LOOP
            PERFORM add_to_counts(d.batch_id, d.delta);
            IF (d.delta ->> 'dialing')::integer < 0 THEN
                PERFORM note_drained(d.batch_id);
            END IF;
        END LOOP;
    END IF;
    RETURN NULL;
END $$;

-- The status is read in a statement of its own, after the row of batch_progress is locked: it is the last word then.
CREATE FUNCTION welcome_contacts(batch uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_is text := (SELECT status FROM batches WHERE id = batch);
BEGIN
    IF now_is IN ('completed', 'cancelled', 'failed') THEN
        RAISE EXCEPTION 'Batch % is %; no contacts can be added', batch, now_is
            USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_is_final', TABLE = 'contacts';
    END IF;
    UPDATE batch_progress SET next_dispatch_at = dialer_now() WHERE batch_id = batch AND now_is = 'active';
END $$;

CREATE FUNCTION note_drained(batch uuid) RETURNS void LANGUAGE sql AS $$
    UPDATE batch_progress p SET drained_at = dialer_now()
    FROM batches b
    WHERE b.id = batch AND p.batch_id = batch AND p.dialing = 0 AND p.drained_at IS NULL
      AND b.status IN ('paused', 'completed', 'cancelled', 'failed')
$$;

CREATE TRIGGER count_added AFTER INSERT ON contacts
    REFERENCING NEW TABLE AS changed_to FOR EACH STATEMENT EXECUTE FUNCTION count_contacts();
CREATE TRIGGER count_changed AFTER UPDATE ON contacts
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to FOR EACH STATEMENT EXECUTE FUNCTION count_contacts();
CREATE TRIGGER count_removed AFTER DELETE ON contacts
    REFERENCING OLD TABLE AS changed_from FOR EACH STATEMENT EXECUTE FUNCTION count_contacts();
