-- What is wrong with its own data is kept here with its error and can be tried again (`dialer quarantine`); so is what is
-- passed over for now, an attempt or a batch. `trunk_id`: it is a report that could not even be stored in the inbox, of
-- this trunk; `payload`: that report as JSON, once it was accepted. set_aside is the name that the previous release uses.
ALTER TABLE set_aside RENAME TO quarantine;
ALTER TABLE quarantine RENAME CONSTRAINT set_aside_pkey TO quarantine_pkey;
ALTER INDEX set_aside_of_attempt RENAME TO quarantine_of_attempt;
ALTER TABLE quarantine
    ADD id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD trunk_id uuid,
    ADD error_kind text,
    ADD payload text;
CREATE VIEW set_aside AS SELECT kind, subject, attempt_id, error, times, since, last_at FROM quarantine;

-- `due_at`: when settle takes the report; later than its arrival where it failed, or its batch was locked, so that it
-- never stands in the way of the others. `tries`: how often it has failed since `failing_since`.
ALTER TABLE inbox
    ADD due_at timestamptz,
    ADD tries integer NOT NULL DEFAULT 0,
    ADD failing_since timestamptz,
    ADD error_kind text,
    ADD error text;
ALTER TABLE inbox ALTER due_at SET DEFAULT dialer_now();
CREATE INDEX inbox_passed_over ON inbox (attempt_id) WHERE verdict IN ('set_aside', 'quarantined');

-- The previous release closed reports whenever they failed, some of them without a note. Those of calls that are still
-- in progress are settled after all.
WITH reopened AS (
    UPDATE inbox i SET settled_at = NULL, verdict = NULL FROM attempts a
    WHERE i.verdict = 'set_aside' AND a.id = i.attempt_id AND a.trunk_id = i.trunk_id AND a.rescue_at IS NOT NULL
    RETURNING CAST(i.id AS text) AS subject)
DELETE FROM quarantine q USING reopened r WHERE q.kind = 'report' AND q.subject = r.subject;
UPDATE inbox SET due_at = received_at WHERE settled_at IS NULL;
ALTER TABLE inbox ADD CONSTRAINT inbox_unsettled_is_due CHECK (settled_at IS NOT NULL OR due_at IS NOT NULL);
CREATE INDEX inbox_due ON inbox (due_at, id) WHERE settled_at IS NULL;
CREATE INDEX inbox_failing ON inbox (error_kind) WHERE settled_at IS NULL AND tries > 0;

-- How long a conversation of this batch typically lasts: a running median. Rescue asks about calls that last longer.
ALTER TABLE batch_progress ADD talk_seconds double precision CHECK (talk_seconds > 0);

-- The delay before a retry, as dialer.domain.retry has it; a test holds the two together.
CREATE FUNCTION retry_delay(delays jsonb, outcome text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((delays ->> outcome)::double precision,
                    CASE outcome WHEN 'busy' THEN 10 WHEN 'no_answer' THEN 60 WHEN 'machine' THEN 120
                                 WHEN 'failed' THEN 5 WHEN 'rejected' THEN 60 END) * interval '1 minute'
$$;

-- Settle moves the due time of a retry into the calling window as it is then. Where an operator changes the window or the
-- delays, those that wait are due after their delay alone: dispatch asks the new window when they are called. A contact
-- whose last attempt was refused waits for another reason. After follow_batches, by its name, which has locked the
-- rows of batch_progress.
CREATE FUNCTION follow_retry_rules() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    edited uuid[] := ARRAY(
        SELECT n.id FROM changed_to n JOIN changed_from o USING (id)
        WHERE (n.timezone, n.start_time, n.end_time, n.working_days, n.excluded_dates, n.retry_delays)
              IS DISTINCT FROM
              (o.timezone, o.start_time, o.end_time, o.working_days, o.excluded_dates, o.retry_delays));
BEGIN
    IF edited <> '{}' THEN
        UPDATE contacts c SET due_at = r.due_at
        FROM (SELECT w.id, last.ended_at + retry_delay(b.retry_delays, last.outcome) AS due_at
              FROM batches b JOIN contacts w ON w.batch_id = b.id AND w.status = 'waiting'
              CROSS JOIN LATERAL (SELECT a.state, a.outcome, a.ended_at FROM attempts a
                                  WHERE a.contact_id = w.id ORDER BY a.id DESC LIMIT 1) AS last
              WHERE b.id = ANY(edited) AND last.state = 'ended') AS r
        WHERE c.id = r.id AND c.status = 'waiting' AND c.due_at <> r.due_at;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER follow_retry_rules AFTER UPDATE ON batches
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION follow_retry_rules();

-- Wakes the batches that a change of a number, trunk or agent may concern: those of its workspace. A transaction that is
-- left open after such a change must not keep the batches of others locked.
CREATE OR REPLACE FUNCTION wake_held_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE batch_progress SET next_dispatch_at = dialer_now()
    WHERE batch_id IN (SELECT p.batch_id FROM batch_progress p JOIN batches b ON b.id = p.batch_id
                       WHERE p.held_by IN ('trunk', 'number', 'number_day', 'rate', 'no_active_number',
                                           'agent_inactive', 'trunk_failing')
                         AND b.workspace_id IN (SELECT workspace_id FROM changed_to)
                       ORDER BY p.batch_id FOR NO KEY UPDATE OF p)
      AND next_dispatch_at IS NOT NULL;
    RETURN NULL;
END $$;
DROP TRIGGER wake_held_batches ON phone_numbers;
DROP TRIGGER wake_held_batches ON trunks;
DROP TRIGGER wake_held_batches ON agents;
CREATE TRIGGER wake_held_batches AFTER UPDATE ON phone_numbers REFERENCING NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION wake_held_batches();
CREATE TRIGGER wake_held_batches AFTER UPDATE ON trunks REFERENCING NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION wake_held_batches();
CREATE TRIGGER wake_held_batches AFTER UPDATE ON agents REFERENCING NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION wake_held_batches();
