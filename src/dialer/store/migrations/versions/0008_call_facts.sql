-- What the network itself has said of a call's end; NULL: not known. `is_counted`: the attempt uses up one of its contact's,
-- which a call that never rang because its network failed does not. Workers of the previous release count all of them.
ALTER TABLE attempts
    ADD sip_code integer,
    ADD q850_cause integer,
    ADD sip_call_id text,
    ADD hung_up_by text,
    ADD is_counted boolean DEFAULT true;
-- Not validated: every row is NULL, and reading them all would keep the table locked.
ALTER TABLE attempts ADD CONSTRAINT attempts_hung_up_by
    CHECK (hung_up_by IN ('caller', 'callee', 'network')) NOT VALID;
ALTER TABLE attempts_archive
    ADD sip_code integer, ADD q850_cause integer, ADD sip_call_id text, ADD hung_up_by text,
    ADD is_counted boolean DEFAULT true;
ALTER TABLE inbox ADD sip_code integer, ADD q850_cause integer, ADD sip_call_id text, ADD hung_up_by text;

-- `of_calls`: calls are among the failures that its network took and that failed without ringing. Then it does not work
-- again because one more is taken, but once one rings.
ALTER TABLE trunk_health ADD of_calls boolean NOT NULL DEFAULT false;

-- As before; a contact whose last call failed by its network waits for the network, and not for its retry.
CREATE OR REPLACE FUNCTION follow_retry_rules() RETURNS trigger LANGUAGE plpgsql AS $$
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
              CROSS JOIN LATERAL (SELECT a.state, a.outcome, a.ended_at, a.is_counted FROM attempts a
                                  WHERE a.contact_id = w.id ORDER BY a.id DESC LIMIT 1) AS last
              WHERE b.id = ANY(edited) AND last.state = 'ended' AND last.is_counted IS NOT FALSE) AS r
        WHERE c.id = r.id AND c.status = 'waiting' AND c.due_at <> r.due_at;
    END IF;
    RETURN NULL;
END $$;
