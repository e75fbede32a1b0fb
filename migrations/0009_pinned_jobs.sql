-- A pinned job is never deleted because of its age. docs/sql.md documents the views.

PRAGMA user_version = 9; -- always the number of the newest migration

ALTER TABLE job ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0 CHECK (typeof(pinned) = 'integer' AND pinned IN (0, 1));

DROP VIEW jobs;

CREATE VIEW jobs AS
SELECT id, provider, kind, remote_id, source, state, provider_state,
       CAST(terminal_at IS NOT NULL AS INTEGER) AS terminal,
       labels, similarity_keys, added_by_uid, added_by_user,
       registered_at, submitted_at, started_at, ended_at, terminal_at, expires_at, deadline_at,
       message, last_polled_at, next_poll_at, polls, failed_polls, last_poll_error,
       queue_s, run_s, total_s, detection_delay_s, detection_delay_max_s, credits, detail, price, pinned
FROM job;

-- The audit also records pin and unpin. SQLite cannot change a CHECK constraint: the table is replaced by one
-- with other constraints.
DROP VIEW audit;

CREATE TABLE audit_event_9 (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    requested_at TEXT NOT NULL CHECK (typeof(requested_at) = 'text'),
    origin       TEXT NOT NULL CHECK (origin IN ('socket', 'signal')),
    uid          INTEGER CHECK (typeof(uid) IN ('integer', 'null')),
    user_name    TEXT CHECK (typeof(user_name) IN ('text', 'null')),
    pid          INTEGER CHECK (typeof(pid) IN ('integer', 'null')),
    command      TEXT NOT NULL CHECK (command IN
                     ('cancel', 'untrack', 'check', 'forget', 'reload', 'label', 'backup', 'pin', 'unpin')),
    provider     TEXT CHECK (typeof(provider) IN ('text', 'null')),
    job_id       INTEGER CHECK (typeof(job_id) IN ('integer', 'null')),
    remote_id    TEXT CHECK (typeof(remote_id) IN ('text', 'null')),
    outcome      TEXT NOT NULL CHECK (outcome IN ('done', 'unchanged', 'refused', 'failed')),
    detail       TEXT CHECK (typeof(detail) IN ('text', 'null')),
    count        INTEGER NOT NULL DEFAULT 1 CHECK (typeof(count) = 'integer' AND count >= 1)
);

INSERT INTO audit_event_9 (id, requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id,
                           outcome, detail, count)
SELECT id, requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id, outcome, detail, count
FROM audit_event ORDER BY id;

-- The ids of deleted rows are not used again.
DELETE FROM sqlite_sequence WHERE name = 'audit_event_9';
INSERT INTO sqlite_sequence (name, seq)
SELECT 'audit_event_9', seq FROM sqlite_sequence WHERE name = 'audit_event';

DROP TABLE audit_event;
ALTER TABLE audit_event_9 RENAME TO audit_event;

CREATE INDEX audit_event_requested_at ON audit_event (requested_at);
CREATE INDEX audit_event_job_id ON audit_event (job_id) WHERE job_id IS NOT NULL;

CREATE TRIGGER audit_event_is_never_changed BEFORE UPDATE ON audit_event
BEGIN
    SELECT raise(ABORT, 'the audit is append-only');
END;

-- REPLACE deletes the old row.
CREATE TRIGGER audit_event_is_never_replaced BEFORE INSERT ON audit_event
WHEN EXISTS (SELECT 1 FROM audit_event WHERE id = NEW.id)
BEGIN
    SELECT raise(ABORT, 'the audit is append-only');
END;

CREATE VIEW audit AS
SELECT id, requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id, outcome,
       detail, count
FROM audit_event;
