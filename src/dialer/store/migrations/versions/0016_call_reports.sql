-- What an agent reports of a call: `disposition`, a word of its own for what became of it; `opt_out`, the person asked not
-- to be called again; `reported_outcome`, by the agent or by
-- machine detection, which replaces the outcome `answered` at the end of the call. New columns are
-- NULL and constraints are not validated: no row is read, and the tables are locked for a moment. Workers of the previous
-- release go on; what they archive loses these columns.
ALTER TABLE attempts
    ADD disposition text,
    ADD opt_out boolean,
    ADD reported_outcome text,
    DROP CONSTRAINT attempts_outcome_check;
ALTER TABLE attempts
    ADD CONSTRAINT attempts_outcome_check CHECK (
        outcome IN ('answered', 'machine', 'busy', 'no_answer', 'rejected', 'invalid_number', 'failed', 'cancelled',
                    'unknown', 'answered_no_agent')) NOT VALID,
    ADD CONSTRAINT attempts_disposition CHECK (length(disposition) BETWEEN 1 AND 100) NOT VALID,
    ADD CONSTRAINT attempts_reported_outcome CHECK (reported_outcome IN ('answered_no_agent', 'machine')) NOT VALID;
ALTER TABLE attempts_archive ADD disposition text, ADD opt_out boolean, ADD reported_outcome text;
-- A second report `answered` with an outcome: the network found out during the call what has answered.
ALTER TABLE inbox
    ADD disposition text,
    ADD opt_out boolean,
    DROP CONSTRAINT inbox_check,
    ADD CONSTRAINT inbox_outcome CHECK (
        CASE kind WHEN 'ended' THEN outcome IS NOT NULL WHEN 'ringing' THEN outcome IS NULL ELSE true END) NOT VALID;

-- The number of a person who opted out is suppressed in the transaction that learns it, whoever writes it. It stays
-- suppressed until somebody deletes the suppression.
CREATE FUNCTION suppress_opted_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO suppressions (workspace_id, phone_number, reason)
    SELECT workspace_id, NEW.to_number, 'opted out in a call' FROM batches WHERE id = NEW.batch_id
    ON CONFLICT (workspace_id, phone_number) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER suppress_opted_out AFTER UPDATE OF opt_out ON attempts FOR EACH ROW
    WHEN (NEW.opt_out AND OLD.opt_out IS DISTINCT FROM true) EXECUTE FUNCTION suppress_opted_out();
CREATE TRIGGER suppress_opted_out AFTER UPDATE OF opt_out ON attempts_archive FOR EACH ROW
    WHEN (NEW.opt_out AND OLD.opt_out IS DISTINCT FROM true) EXECUTE FUNCTION suppress_opted_out();

-- `of_agents`: calls are among the failures that were answered without an agent. Then a trunk works again once an agent
-- has joined a call, and not because one rings.
ALTER TABLE trunk_health ADD of_agents boolean NOT NULL DEFAULT false;

-- `callback_at`: when the person asked to be called again; the next call of the contact is granted. `callback_refused`: why
-- one that was reported is not. In the inbox it is text, as it was reported: settle reads and checks it.
ALTER TABLE attempts ADD callback_at timestamptz, ADD callback_refused text;
ALTER TABLE attempts_archive ADD callback_at timestamptz, ADD callback_refused text;
ALTER TABLE inbox ADD callback_at text;
