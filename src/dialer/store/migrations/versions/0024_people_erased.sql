-- All is one transaction. `inbox` is locked against writes for as long as it takes to read it once, about a second for a
-- million rows; `contacts` and the other tables for a moment. Processes of the previous release go on.

-- A person who was erased: the number is replaced by one that nobody has, and nobody calls: `erased:` and the contact's id.
-- Not validated: no row is read.
ALTER TABLE contacts DROP CONSTRAINT contacts_phone_number_check;
ALTER TABLE contacts ADD CONSTRAINT contacts_phone_number_check CHECK (
    phone_number ~ '^\+[1-9][0-9]{1,14}$' OR (phone_number = 'erased:' || id AND finished_at IS NOT NULL)) NOT VALID;

-- As before; but a number that was erased cannot be suppressed, because nobody knows it any more.
DROP TRIGGER suppress_opted_out ON attempts;
CREATE TRIGGER suppress_opted_out AFTER UPDATE OF opt_out ON attempts FOR EACH ROW
    WHEN (NEW.opt_out AND OLD.opt_out IS DISTINCT FROM true AND NEW.to_number LIKE '+%')
    EXECUTE FUNCTION suppress_opted_out();
DROP TRIGGER suppress_opted_out ON attempts_archive;
CREATE TRIGGER suppress_opted_out AFTER UPDATE OF opt_out ON attempts_archive FOR EACH ROW
    WHEN (NEW.opt_out AND OLD.opt_out IS DISTINCT FROM true AND NEW.to_number LIKE '+%')
    EXECUTE FUNCTION suppress_opted_out();

-- The words of agents in the reports of a person's calls.
CREATE INDEX inbox_dispositions ON inbox (attempt_id) WHERE disposition IS NOT NULL;

-- Who exported or erased what is held on one number, and when. `masked_number`: the number as logs show it.
CREATE TABLE person_requests (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id   uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    action         text NOT NULL CHECK (action IN ('export', 'erase')),
    masked_number  text NOT NULL CHECK (masked_number !~ '[0-9]{7}'),
    result         jsonb NOT NULL,
    at             timestamptz NOT NULL DEFAULT dialer_now(),
    by             text NOT NULL DEFAULT session_user,
    source         text DEFAULT change_source(),
    key_id         uuid DEFAULT change_key_id()
);
CREATE INDEX person_requests_of_workspace ON person_requests (workspace_id, id DESC);

-- Days after their end for which batches are kept, before they are deleted with everything in them; NULL: as the
-- installation is set.
ALTER TABLE workspaces ADD keep_batches_days integer CHECK (keep_batches_days BETWEEN 1 AND 36500);
CREATE INDEX batches_over ON batches (workspace_id, completed_at) WHERE completed_at IS NOT NULL;
