-- Postgres checks foreign keys row by row, which took half of the time in which a claim writes a page. A claim has locked
-- the contact, the number and the trunk of each attempt that it writes, in the same transaction. So a reference can only
-- break where one of them is deleted, and that is what triggers check now, once a statement. Workers of the previous
-- release lock them too. Dropping a foreign key locks both of its tables for a moment, and reads no row.
ALTER TABLE attempts
    DROP CONSTRAINT IF EXISTS attempts_contact_id_fkey,
    DROP CONSTRAINT IF EXISTS attempts_trunk_id_fkey,
    DROP CONSTRAINT IF EXISTS attempts_phone_number_id_fkey;
ALTER TABLE contacts DROP CONSTRAINT IF EXISTS contacts_first_number_id_fkey;

-- A delete waits for the claims that have locked its rows, and then sees their attempts: each statement of a function
-- sees what was committed before it.
CREATE FUNCTION keep_used_numbers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    used uuid;
BEGIN
    SELECT id INTO used FROM deleted d
    WHERE EXISTS (SELECT 1 FROM attempts WHERE phone_number_id = d.id)
       OR EXISTS (SELECT 1 FROM contacts WHERE first_number_id = d.id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Phone number % has calls; make it inactive instead', used
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'attempts_phone_number_id_fkey', TABLE = 'attempts';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_used AFTER DELETE ON phone_numbers REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION keep_used_numbers();

CREATE FUNCTION keep_used_trunks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    used uuid;
BEGIN
    SELECT id INTO used FROM deleted d WHERE EXISTS (SELECT 1 FROM attempts WHERE trunk_id = d.id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Trunk % has calls; make it inactive instead', used
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'attempts_trunk_id_fkey', TABLE = 'attempts';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_used AFTER DELETE ON trunks REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION keep_used_trunks();

-- The attempts of a contact are deleted with it.
CREATE FUNCTION delete_attempts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM attempts WHERE contact_id IN (SELECT id FROM deleted);
    RETURN NULL;
END $$;
CREATE TRIGGER delete_attempts AFTER DELETE ON contacts REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION delete_attempts();
