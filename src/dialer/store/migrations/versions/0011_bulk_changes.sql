-- Changes of many contacts are acknowledged at once and done in pages by workers. A row: contacts of this batch still
-- have to be moved, for it is over or has expired; which, and to what, is read from the batch with each page, so that
-- a crash between two pages, or in one, loses nothing. `due_at`: when a worker takes the next page; the batch that has
-- waited longest comes first. Without a foreign key: the row of the batch is not locked by a page.
CREATE TABLE bulk_changes (
    batch_id  uuid PRIMARY KEY,
    due_at    timestamptz NOT NULL DEFAULT dialer_now()
);
CREATE INDEX bulk_changes_due ON bulk_changes (due_at);

-- As before; but the contacts of a batch that is over are left to bulk_changes, so that a stop takes as long with a
-- million contacts as with one. None of them is called any more: claim and permit look at the status of the batch (P4).
CREATE OR REPLACE FUNCTION follow_batches() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    stopped uuid[] := ARRAY(SELECT n.id FROM changed_to n JOIN changed_from o USING (id)
                            WHERE o.status = 'active' AND n.status IN ('paused', 'cancelled'));
BEGIN
    IF cardinality(stopped) > 0 THEN
        PERFORM wait_for_departures(stopped);
    END IF;
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
    INSERT INTO bulk_changes (batch_id)
        SELECT n.id FROM changed_to n JOIN changed_from o USING (id) JOIN batch_progress p ON p.batch_id = n.id
        WHERE n.status <> o.status AND n.status IN ('completed', 'cancelled', 'failed') AND p.pending + p.waiting > 0
        ORDER BY n.id
        ON CONFLICT (batch_id) DO UPDATE SET due_at = excluded.due_at;
    RETURN NULL;
END $$;

-- There is none unless somebody has changed contacts in SQL after their batch was over.
INSERT INTO bulk_changes (batch_id)
    SELECT p.batch_id FROM batch_progress p JOIN batches b ON b.id = p.batch_id
    WHERE b.status IN ('completed', 'cancelled', 'failed') AND p.pending + p.waiting > 0;
