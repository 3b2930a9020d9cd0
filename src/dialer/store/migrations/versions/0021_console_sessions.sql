-- Who is signed in to the console. A session belongs to a key and ends with it; only a hash of its secret is kept.
-- Locks api_keys against writes for the moment in which the foreign key is added: the table is new and empty.
CREATE TABLE console_sessions (
    secret_hash  bytea PRIMARY KEY,
    key_id       uuid NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT dialer_now(),
    expires_at   timestamptz NOT NULL
);
CREATE INDEX console_sessions_of_key ON console_sessions (key_id);
CREATE INDEX console_sessions_by_expiry ON console_sessions (expires_at);
