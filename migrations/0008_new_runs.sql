-- A job that has ended does not prevent that a new run with the same id is tracked, if the user asks for it.

PRAGMA user_version = 8; -- always the number of the newest migration

DROP INDEX job_identity;
CREATE UNIQUE INDEX job_identity ON job (remote_id, provider) WHERE terminal_at IS NULL;
