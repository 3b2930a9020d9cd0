-- As before, but a stop never raises: a batch that cannot become paused or cancelled is over, or a draft that nobody
-- calls, so there is nothing to stop. Its row is left as it is, and the statement goes on to the next one (P4).
CREATE OR REPLACE FUNCTION guard_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IN ('paused', 'cancelled')
       AND (NEW IS NOT DISTINCT FROM OLD
            OR (NEW.status <> OLD.status AND NOT batch_may_become(OLD.status, NEW.status))) THEN
        RAISE NOTICE 'Batch % "%" is %; it is left as it is', OLD.id, OLD.name, OLD.status;
        RETURN NULL;
    END IF;
    IF NEW.status <> OLD.status THEN
        IF NOT batch_may_become(OLD.status, NEW.status) THEN
            RAISE EXCEPTION 'Batch % is %; it cannot become %', OLD.id, OLD.status, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_transition', TABLE = 'batches';
        END IF;
        IF OLD.status = 'paused' AND NEW.status IN ('active', 'scheduled') THEN
            NEW.status := CASE WHEN NEW.schedule_type = 'scheduled' AND NEW.scheduled_at > dialer_now()
                               THEN 'scheduled' ELSE 'active' END;
        END IF;
        IF NEW.status_reason IS NOT DISTINCT FROM OLD.status_reason THEN
            NEW.status_reason := NULL;
        END IF;
        IF NEW.status = 'active' THEN
            NEW.started_at := coalesce(OLD.started_at, dialer_now());
        END IF;
        IF NEW.status IN ('completed', 'cancelled', 'failed') THEN
            NEW.completed_at := dialer_now();
        END IF;
    END IF;
    -- The lanes of contacts are made of these when they are loaded.
    IF (NEW.respect_contact_timezone, NEW.sticky_caller_id) <> (OLD.respect_contact_timezone, OLD.sticky_caller_id)
       AND EXISTS (SELECT 1 FROM contacts WHERE batch_id = OLD.id) THEN
        RAISE EXCEPTION 'Batch % has contacts; respect_contact_timezone and sticky_caller_id are set before', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_has_contacts', TABLE = 'batches';
    END IF;
    NEW.version := OLD.version + 1;
    NEW.updated_at := dialer_now();
    RETURN NEW;
END $$;
