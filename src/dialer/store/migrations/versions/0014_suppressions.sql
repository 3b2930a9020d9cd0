-- Contacts of suppressed numbers are skipped in pages by workers, ahead of their turn. A row: at most 1,000 numbers that one
-- statement has suppressed. In batches up to `after_batch` their contacts are skipped already. `due_at`: when a worker
-- takes the next page. None of these numbers is called meanwhile: claim and permit look at suppressions (P4).
-- Locks suppressions and workspaces against writes for a moment; no row of them is read.
CREATE TABLE suppressed_numbers (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id   uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    phone_numbers  text[] NOT NULL,
    after_batch    uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    due_at         timestamptz NOT NULL DEFAULT dialer_now()
);
CREATE INDEX suppressed_numbers_due ON suppressed_numbers (due_at);

CREATE FUNCTION skip_in_pages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO suppressed_numbers (workspace_id, phone_numbers)
        SELECT workspace_id, array_agg(phone_number)
        FROM (SELECT workspace_id, phone_number,
                     (row_number() OVER (PARTITION BY workspace_id ORDER BY phone_number) - 1) / 1000 AS page
              FROM changed_to) AS s
        GROUP BY workspace_id, page ORDER BY workspace_id, page;
    RETURN NULL;
END $$;
CREATE TRIGGER skip_in_pages AFTER INSERT ON suppressions REFERENCING NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION skip_in_pages();

-- The batches of which contacts may be skipped, however many are over. Locks batches against writes while it reads them:
-- 0.1 s for 100,000.
CREATE INDEX batches_not_over ON batches (workspace_id, id) WHERE status IN ('draft', 'scheduled', 'active', 'paused');
