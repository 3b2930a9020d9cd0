-- Just before its request may leave, dispatch looks at an attempt once more and notes when: it leaves within a moment of
-- `sent_at`, or never (P4).
ALTER TABLE attempts ADD COLUMN sent_at timestamptz;
ALTER TABLE attempts_archive ADD COLUMN sent_at timestamptz;

-- For a pause, which waits for the requests that are leaving, and for hang-ups.
CREATE INDEX attempts_live_of_batch ON attempts (batch_id) WHERE rescue_at IS NOT NULL;

-- Waits until no request of these batches is leaving: until each has left, or may not leave any more. Their rows are
-- locked by this transaction, so no further one gets permission meanwhile. On a virtual clock nothing leaves by itself.
-- 1.5 s: dialer.domain.patience.LEAVE_SECONDS; a test holds the two together.
CREATE FUNCTION wait_for_departures(stopped uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE nullif(current_setting('dialer.now', true), '') IS NULL AND EXISTS (
        SELECT 1 FROM attempts
        WHERE batch_id = ANY(stopped) AND rescue_at IS NOT NULL AND state = 'reserved'
          AND sent_at > clock_timestamp() - interval '1.5 seconds')
    LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

-- As before; but a stop is confirmed only once nothing of what it stops is leaving (P4).
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
    UPDATE contacts c SET status = 'cancelled', status_reason = 'batch_' || n.status, finished_at = dialer_now()
    FROM changed_to n JOIN changed_from o USING (id)
    WHERE c.batch_id = n.id AND c.status IN ('pending', 'waiting')
      AND n.status <> o.status AND n.status IN ('completed', 'cancelled', 'failed');
    RETURN NULL;
END $$;

-- A new rate, or a new daily cap of a number, counts from the next grant on its own trunk or number; nobody else's
-- leases are void because of it.
DROP TRIGGER void_leases ON trunks;
DROP TRIGGER void_leases ON phone_numbers;
DROP FUNCTION void_leases();

-- Since when the calls of a number are counted toward a daily cap; NULL: it has none. A grant from before a cap was set
-- is void, and the number is not used until Redis has loaded from the ledger what was called before.
ALTER TABLE phone_numbers ADD COLUMN capped_at timestamptz;
UPDATE phone_numbers SET capped_at = created_at WHERE max_calls_per_day IS NOT NULL;

CREATE FUNCTION note_cap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.capped_at := CASE WHEN NEW.max_calls_per_day IS NULL THEN NULL
                          WHEN TG_OP = 'UPDATE' AND OLD.max_calls_per_day IS NOT NULL THEN OLD.capped_at
                          ELSE dialer_now() END;
    RETURN NEW;
END $$;
CREATE TRIGGER note_cap BEFORE INSERT OR UPDATE ON phone_numbers FOR EACH ROW EXECUTE FUNCTION note_cap();
