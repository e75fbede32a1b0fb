-- Who gave which command: cancel, untrack, check, forget, reload, and changes of labels. docs/sql.md
-- documents the view. Who added a job is in `job`.

PRAGMA user_version = 3; -- always the number of the newest migration

-- provider, job_id and remote_id are as they were at the time: a row outlives its job.
CREATE TABLE audit_event (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    requested_at TEXT NOT NULL CHECK (typeof(requested_at) = 'text'),
    origin       TEXT NOT NULL CHECK (origin IN ('socket', 'signal')),
    uid          INTEGER CHECK (typeof(uid) IN ('integer', 'null')),
    user_name    TEXT CHECK (typeof(user_name) IN ('text', 'null')),
    pid          INTEGER CHECK (typeof(pid) IN ('integer', 'null')),
    command      TEXT NOT NULL CHECK (command IN
                     ('cancel', 'untrack', 'check', 'forget', 'reload', 'label')),
    provider     TEXT CHECK (typeof(provider) IN ('text', 'null')),
    job_id       INTEGER CHECK (typeof(job_id) IN ('integer', 'null')),
    remote_id    TEXT CHECK (typeof(remote_id) IN ('text', 'null')),
    outcome      TEXT NOT NULL CHECK (outcome IN ('done', 'unchanged', 'failed')),
    detail       TEXT CHECK (typeof(detail) IN ('text', 'null'))
);

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

-- The unfinished jobs of each user, for the limits of [control].
CREATE INDEX job_active_user ON job (added_by_uid) WHERE terminal_at IS NULL;

CREATE VIEW audit AS
SELECT id, requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id, outcome,
       detail
FROM audit_event;
