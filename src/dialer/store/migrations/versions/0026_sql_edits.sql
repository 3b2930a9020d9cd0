-- All is one transaction. Each table is locked for a moment, and no row is read: constraints are not validated. Processes
-- of the previous release go on.

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

-- A contact that is being called stays until its call is over: its attempt would be deleted with it, and then its call
-- counts for no limit, and its person could be called by another batch. Where its batch was deleted, nobody can end the
-- attempt, so both are removed.
CREATE FUNCTION keep_called() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM batches WHERE id = OLD.batch_id) THEN
        RAISE EXCEPTION 'Contact % is being called; it can be deleted when its call is over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'contact_in_call', TABLE = 'contacts';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER keep_called BEFORE DELETE ON contacts FOR EACH ROW
    WHEN (OLD.status = 'dialing') EXECUTE FUNCTION keep_called();

-- The zone in which a contact is called follows its time zone, where its batch respects that. Its lane may name an outbound
-- number too, which stays.
CREATE FUNCTION follow_timezone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM batches WHERE id = NEW.batch_id AND respect_contact_timezone) THEN
        NEW.lane := NEW.timezone || coalesce(substring(OLD.lane FROM '\|.*$'), '');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER follow_timezone BEFORE UPDATE OF timezone ON contacts FOR EACH ROW
    WHEN (NEW.timezone IS NOT NULL AND NEW.timezone IS DISTINCT FROM OLD.timezone AND NEW.lane = OLD.lane)
    EXECUTE FUNCTION follow_timezone();
