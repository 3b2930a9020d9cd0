-- All is one transaction. `contacts` is read once, about a second for a million rows, which go on being read and written
-- until then; each table is locked for a moment. Processes of the previous release go on.

-- Since when a trunk leads to the network of its config; NULL: since before this migration, or since it was created. Of a
-- call that was placed before, this network cannot say that it was never placed.
ALTER TABLE trunks ADD network_since timestamptz;

CREATE FUNCTION note_network() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.network_since := dialer_now();
    RETURN NEW;
END $$;
CREATE TRIGGER note_network BEFORE UPDATE OF provider, config ON trunks FOR EACH ROW
    WHEN ((NEW.provider, NEW.config) IS DISTINCT FROM (OLD.provider, OLD.config)) EXECUTE FUNCTION note_network();

-- Times that Python can read: not infinity, and no year of five digits. A row with another one could not be processed.
-- What expires then never expires. The constraints are not validated.
UPDATE contacts SET expires_at = NULL WHERE expires_at >= '10000-01-01 00:00+00';
ALTER TABLE batches
    ADD CONSTRAINT batches_years CHECK (
        expires_at >= '0001-01-01 00:00+00' AND expires_at < '10000-01-01 00:00+00') NOT VALID,
    ADD CONSTRAINT batches_scheduled_years CHECK (
        scheduled_at >= '0001-01-01 00:00+00' AND scheduled_at < '10000-01-01 00:00+00') NOT VALID;
ALTER TABLE contacts
    ADD CONSTRAINT contacts_expiry_years CHECK (
        expires_at >= '0001-01-01 00:00+00' AND expires_at < '10000-01-01 00:00+00') NOT VALID,
    ADD CONSTRAINT contacts_due_years CHECK (
        due_at >= '0001-01-01 00:00+00' AND due_at < '10000-01-01 00:00+00') NOT VALID,
    ADD CONSTRAINT contacts_not_before_years CHECK (
        not_before >= '0001-01-01 00:00+00' AND not_before < '10000-01-01 00:00+00') NOT VALID;

-- A contact that is being called stays until its call is over, and so does a batch with calls in progress: their attempts
-- would be deleted with them, and then the calls count for no limit, and their persons could be called by another batch.
-- Attempts whose requests have not left are deleted with their batch; they do not leave any more.
CREATE FUNCTION keep_called() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM batches WHERE id = OLD.batch_id)
       AND EXISTS (SELECT 1 FROM attempts WHERE contact_id = OLD.id AND rescue_at IS NOT NULL) THEN
        RAISE EXCEPTION 'Contact % is being called; it can be deleted when its call is over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'contact_in_call', TABLE = 'contacts';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER keep_called BEFORE DELETE ON contacts FOR EACH ROW
    WHEN (OLD.status = 'dialing') EXECUTE FUNCTION keep_called();

CREATE FUNCTION keep_calling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM attempts WHERE batch_id = OLD.id AND rescue_at IS NOT NULL
               AND (sent_at IS NOT NULL OR state <> 'reserved')) THEN
        RAISE EXCEPTION 'Batch % has calls in progress; cancel it, and delete it when they are over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_in_call', TABLE = 'batches';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER keep_calling BEFORE DELETE ON batches FOR EACH ROW EXECUTE FUNCTION keep_calling();

-- Makes an active batch due whose contacts were changed: some can be called, or none is left and it is complete. A
-- statement of its own, after the row of batch_progress is locked: the status is the last word then.
CREATE FUNCTION wake_changed(batch uuid) RETURNS void LANGUAGE sql AS $$
    UPDATE batch_progress p SET next_dispatch_at = dialer_now() FROM batches b
    WHERE p.batch_id = batch AND b.id = batch AND b.status = 'active'
      AND (p.pending > 0 OR p.waiting + p.dialing = 0)
      AND (p.next_dispatch_at IS NULL OR p.next_dispatch_at > dialer_now())
$$;

-- As before; but a change of contacts that is no claim and no end of a call wakes their batch. Otherwise contacts that an
-- operator makes pending would not be called, and a batch whose last ones an operator takes out would not be completed.
CREATE OR REPLACE FUNCTION count_contacts() RETURNS trigger LANGUAGE plpgsql AS $$
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
            PERFORM wake_changed(d.batch_id);
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
            IF NOT d.delta ? 'dialing' OR (d.delta ->> 'pending')::integer > 0 THEN
                PERFORM wake_changed(d.batch_id);
            END IF;
        END LOOP;
    END IF;
    RETURN NULL;
END $$;

-- The zone in which a contact is called follows its time zone, where its batch respects that. Its lane may name an outbound
-- number too, which stays. The batch may have been waiting for the old zone.
CREATE FUNCTION follow_timezone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM batches WHERE id = NEW.batch_id AND respect_contact_timezone) THEN
        NEW.lane := NEW.timezone || coalesce(substring(OLD.lane FROM '\|.*$'), '');
        PERFORM wake_changed(NEW.batch_id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER follow_timezone BEFORE UPDATE OF timezone ON contacts FOR EACH ROW
    WHEN (NEW.timezone IS NOT NULL AND NEW.timezone IS DISTINCT FROM OLD.timezone AND NEW.lane = OLD.lane)
    EXECUTE FUNCTION follow_timezone();

-- Contacts that wait for the limits of their persons are checked again when these limits change, of their batch or of their
-- workspace: otherwise they would wait until the moment that the old limits allowed.
CREATE FUNCTION follow_person_limits() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    edited uuid[];
BEGIN
    IF TG_TABLE_NAME = 'batches' THEN
        edited := ARRAY(SELECT n.id FROM changed_to n JOIN changed_from o USING (id)
                        WHERE n.person_limits <> o.person_limits);
    ELSE
        edited := ARRAY(SELECT b.id FROM changed_to n JOIN changed_from o USING (id) JOIN batches b ON b.workspace_id = n.id
                        WHERE n.person_limits <> o.person_limits
                          AND b.status IN ('draft', 'scheduled', 'active', 'paused'));
    END IF;
    IF edited <> '{}' THEN
        UPDATE contacts SET due_at = dialer_now()
        WHERE id IN (SELECT id FROM contacts
                     WHERE batch_id = ANY(edited) AND status = 'waiting' AND waits_for = 'person_limit'
                     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER follow_person_limits AFTER UPDATE ON batches
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION follow_person_limits();
CREATE TRIGGER follow_person_limits AFTER UPDATE ON workspaces
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION follow_person_limits();

-- Last: a table whose changed rows have deferred triggers cannot be altered.
UPDATE batches SET expires_at = NULL WHERE expires_at >= '10000-01-01 00:00+00';
