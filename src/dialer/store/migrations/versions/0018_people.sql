-- Tables in the order in which the engine locks them. All is one transaction: `attempts` is locked for as long as it takes
-- to read it three times, about four seconds for a million rows, and `contacts` to read it once; the other tables are
-- changed in a moment. Workers of the previous release go on, without the rules that are new here: use these once all
-- workers are replaced.

-- How many attempts of a person may be placed within a rolling number of hours, over all batches of a workspace. The
-- limits of the batch and those of its workspace apply together.
CREATE FUNCTION are_person_limits(limits jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(limits) <> 'array' THEN false ELSE NOT EXISTS (
        SELECT 1 FROM jsonb_array_elements(limits) AS l
        WHERE (l @@ '$.attempts >= 1 && $.attempts <= 100 && $.hours >= 1 && $.hours <= 720') IS NOT TRUE
           OR l ->> 'attempts' !~ '^\d+$' OR l ->> 'hours' !~ '^\d+$') END
$$;
ALTER TABLE batches ADD person_limits jsonb NOT NULL DEFAULT '[]' CHECK (are_person_limits(person_limits));
ALTER TABLE workspaces ADD person_limits jsonb NOT NULL DEFAULT '[]' CHECK (are_person_limits(person_limits));

-- Weekday -> [[from, to], ...]; NULL: start_time, end_time and working_days apply.
-- `holidays`: {"country", "region"}, whose public holidays are excluded dates.
ALTER TABLE batches
    ADD calling_hours jsonb CHECK (jsonb_typeof(calling_hours) = 'object'),
    ADD holidays jsonb CHECK (jsonb_typeof(holidays) = 'object');

-- One person, one call. `workspace_id`: whose; NULL: the attempt was written before this migration and is over, or its
-- person was in another call then, so the index below does not hold for it.
ALTER TABLE attempts ADD workspace_id uuid;
ALTER TABLE attempts_archive ADD workspace_id uuid;
UPDATE attempts a SET workspace_id = b.workspace_id FROM batches b
WHERE b.id = a.batch_id AND a.id IN (
    SELECT DISTINCT ON (lb.workspace_id, l.to_number) l.id FROM attempts l JOIN batches lb ON lb.id = l.batch_id
    WHERE l.rescue_at IS NOT NULL ORDER BY lb.workspace_id, l.to_number, l.id);
-- P1: a person has at most one live attempt in a workspace, whatever the code above believes.
CREATE UNIQUE INDEX attempts_one_live_per_person ON attempts (workspace_id, to_number)
    WHERE state IN ('reserved', 'unclear', 'placed', 'ringing', 'answered');
-- For the limits of a person. Only one attempt of a person is live, so those that are over are counted.
CREATE INDEX attempts_of_person ON attempts (workspace_id, to_number, created_at)
    WHERE state = 'ended' AND workspace_id IS NOT NULL;

-- Workers of the previous release do not write workspace_id, and do not look whether the person is in a call.
CREATE FUNCTION fill_workspace() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT b.workspace_id INTO NEW.workspace_id FROM batches b
    WHERE b.id = NEW.batch_id AND (NEW.state IN ('ended', 'refused') OR NOT EXISTS (
        SELECT 1 FROM attempts a WHERE a.workspace_id = b.workspace_id AND a.to_number = NEW.to_number
        AND a.state IN ('reserved', 'unclear', 'placed', 'ringing', 'answered')));
    RETURN NEW;
END $$;
CREATE TRIGGER fill_workspace BEFORE INSERT ON attempts FOR EACH ROW WHEN (NEW.workspace_id IS NULL)
    EXECUTE FUNCTION fill_workspace();

-- What a waiting contact waits for; NULL: its next attempt after the last one. Without meaning in another status. Not
-- validated: every row is NULL.
ALTER TABLE contacts ADD waits_for text;
ALTER TABLE contacts ADD CONSTRAINT contacts_waits_for
    CHECK (waits_for IN ('not_before', 'callback', 'person_in_call', 'person_limit')) NOT VALID;
-- A contact is not called before this time. `priority` 0: a callback, which goes before all others.
ALTER TABLE contacts ADD not_before timestamptz;
ALTER TABLE folder_contacts ADD not_before timestamptz;
-- So many attempts are allowed whatever the retry rules are: a callback that its person asked for grants one more.
ALTER TABLE contacts ADD attempts_allowed smallint NOT NULL DEFAULT 0;
ALTER TABLE contacts DROP CONSTRAINT contacts_priority_check;
ALTER TABLE contacts ADD CONSTRAINT contacts_priority_check CHECK (priority BETWEEN 0 AND 10) NOT VALID;

-- For explain: how many contacts of a batch wait for a time of their own or of their person, and the first such time.
CREATE INDEX contacts_kept_back ON contacts (batch_id, waits_for, due_at)
    WHERE status = 'waiting' AND waits_for IS NOT NULL;

-- As before; but what a contact waits for is no retry where `waits_for` says so, and stays as it is.
CREATE OR REPLACE FUNCTION follow_retry_rules() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    edited uuid[] := ARRAY(
        SELECT n.id FROM changed_to n JOIN changed_from o USING (id)
        WHERE (n.timezone, n.start_time, n.end_time, n.working_days, n.excluded_dates, n.calling_hours, n.holidays,
               n.retry_delays)
              IS DISTINCT FROM
              (o.timezone, o.start_time, o.end_time, o.working_days, o.excluded_dates, o.calling_hours, o.holidays,
               o.retry_delays));
BEGIN
    IF edited <> '{}' THEN
        UPDATE contacts c SET due_at = r.due_at
        FROM (SELECT w.id, last.ended_at + retry_delay(b.retry_delays, last.outcome) AS due_at
              FROM batches b JOIN contacts w ON w.batch_id = b.id AND w.status = 'waiting' AND w.waits_for IS NULL
              CROSS JOIN LATERAL (SELECT a.state, a.outcome, a.ended_at, a.is_counted FROM attempts a
                                  WHERE a.contact_id = w.id ORDER BY a.id DESC LIMIT 1) AS last
              WHERE b.id = ANY(edited) AND last.state = 'ended' AND last.is_counted IS NOT FALSE) AS r
        WHERE c.id = r.id AND c.status = 'waiting' AND c.due_at <> r.due_at;
    END IF;
    RETURN NULL;
END $$;
