-- One person, one call. `workspace_id`: whose; NULL: the attempt was written before this migration and is over, or its
-- person was in another call then, so the index below does not hold for it. Claims are locked out while the two indexes
-- are built, which reads `attempts` twice: about half a second for a million rows.
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
