-- A deleted batch is gone at once, for everybody who reads it, and its contacts and attempts are removed in pages: a DELETE
-- takes as long with a million contacts as with one. So these rows may outlive their batch, which foreign keys would
-- not allow. Dropping them locks the three tables for a moment, and reads no row.
ALTER TABLE contacts DROP CONSTRAINT IF EXISTS contacts_batch_id_fkey;
ALTER TABLE attempts DROP CONSTRAINT IF EXISTS attempts_batch_id_fkey;

CREATE FUNCTION remove_in_pages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bulk_changes (batch_id) SELECT id FROM deleted ORDER BY id
    ON CONFLICT (batch_id) DO UPDATE SET due_at = excluded.due_at;
    RETURN NULL;
END $$;
CREATE TRIGGER remove_in_pages AFTER DELETE ON batches REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION remove_in_pages();

-- What the foreign key did for new contacts, once a statement: their batch exists, and is not deleted before this
-- transaction ends. Attempts need no such check, because a claim has locked their batch. Before count_added, by its
-- name, which locks the counts.
CREATE FUNCTION require_batches() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing uuid;
BEGIN
    PERFORM 1 FROM batches WHERE id IN (SELECT batch_id FROM changed_to) ORDER BY id FOR KEY SHARE;
    SELECT batch_id INTO missing FROM changed_to c WHERE NOT EXISTS (SELECT 1 FROM batches b WHERE b.id = c.batch_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'There is no batch %', missing
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'contacts_batch_id_fkey', TABLE = 'contacts';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER batches_exist AFTER INSERT ON contacts REFERENCING NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION require_batches();

-- A contact stays in its batch, in which it was counted.
CREATE FUNCTION keep_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Contact % cannot be moved to another batch', OLD.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'contact_keeps_batch', TABLE = 'contacts';
END $$;
CREATE TRIGGER keep_batch BEFORE UPDATE OF batch_id ON contacts FOR EACH ROW
    WHEN (NEW.batch_id <> OLD.batch_id) EXECUTE FUNCTION keep_batch();
