-- A price of a request for one job. docs/sql.md documents the view.

PRAGMA user_version = 7; -- always the number of the newest migration

-- `auto`, or a duration such as `1s`. NULL: the price of the provider applies.
ALTER TABLE job ADD COLUMN price TEXT CHECK (typeof(price) IN ('text', 'null'));

DROP VIEW jobs;

CREATE VIEW jobs AS
SELECT id, provider, kind, remote_id, source, state, provider_state,
       CAST(terminal_at IS NOT NULL AS INTEGER) AS terminal,
       labels, similarity_keys, added_by_uid, added_by_user,
       registered_at, submitted_at, started_at, ended_at, terminal_at, expires_at, deadline_at,
       message, last_polled_at, next_poll_at, polls, failed_polls, last_poll_error,
       queue_s, run_s, total_s, detection_delay_s, detection_delay_max_s, credits, detail, price
FROM job;
