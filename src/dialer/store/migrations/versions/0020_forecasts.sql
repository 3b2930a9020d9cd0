-- When batches were forecast to end, to be compared with when they did. What was forecast: a batch with these settings
-- (`batch_version`) and so many `contacts` that begins at `starts_at`; `history_id` was its last entry in batch_history.
-- p10, p50, p90: NULL, not within a year. Creating it locks `workspaces` and `batches` against writes for a moment, for
-- the foreign keys, and reads no row; workers of the previous release do not know it.
CREATE TABLE forecasts (
    id             uuid PRIMARY KEY,
    workspace_id   uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    batch_id       uuid NOT NULL REFERENCES batches ON DELETE CASCADE,
    batch_version  integer NOT NULL,
    history_id     bigint NOT NULL,
    contacts       integer NOT NULL,
    starts_at      timestamptz NOT NULL,
    made_at        timestamptz NOT NULL DEFAULT dialer_now(),
    p10            timestamptz,
    p50            timestamptz,
    p90            timestamptz,
    assumed        jsonb NOT NULL
);
CREATE INDEX forecasts_of_batch ON forecasts (batch_id, id);
CREATE INDEX forecasts_of_workspace ON forecasts (workspace_id, id DESC);
