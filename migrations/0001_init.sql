-- The registry, its history, and the views that users query.
-- Times are UTC text in SQLite's own form, 2026-11-21 23:17:05.123; labels and detail are JSON objects.

PRAGMA application_id = 0x6A74726B; -- "jtrk"
PRAGMA user_version = 1;            -- always the number of the newest migration

CREATE TABLE job (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    provider        TEXT NOT NULL,
    kind            TEXT NOT NULL,
    remote_id       TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN
                        ('registered', 'pending', 'running', 'unknown', 'succeeded', 'failed',
                         'cancelled', 'expired', 'indeterminate', 'lost', 'untracked')),
    provider_state  TEXT,
    labels          TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(labels)),
    added_by        INTEGER,
    give_up_after_s INTEGER,
    registered_at   TEXT NOT NULL,
    submitted_at    TEXT,
    started_at      TEXT,
    ended_at        TEXT,
    expires_at      TEXT,
    terminal_at     TEXT,
    message         TEXT,
    last_polled_at  TEXT,
    next_poll_at    TEXT,
    answered_from   TEXT, -- when the request of the last good answer was sent
    polls           INTEGER NOT NULL DEFAULT 0,
    failed_polls    INTEGER NOT NULL DEFAULT 0,
    last_poll_error TEXT,
    detail          TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(detail)),
    CHECK ((terminal_at IS NULL) = (state IN ('registered', 'pending', 'running', 'unknown')))
) STRICT;

CREATE UNIQUE INDEX job_identity ON job (remote_id, provider) WHERE state NOT IN ('untracked', 'lost');
CREATE INDEX job_remote_id ON job (remote_id, provider);
CREATE INDEX job_active ON job (terminal_at) WHERE terminal_at IS NULL; -- by number, as an index ends in it
CREATE INDEX job_terminal_at ON job (terminal_at) WHERE terminal_at IS NOT NULL;
CREATE INDEX job_registered_at ON job (registered_at);

CREATE TABLE transition (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id         INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    from_state     TEXT,
    to_state       TEXT NOT NULL,
    provider_state TEXT,
    evidence       TEXT NOT NULL CHECK (evidence IN ('observed', 'reported', 'local')),
    occurred_at    TEXT,
    observed_at    TEXT NOT NULL,
    earliest_at    TEXT,
    message        TEXT
) STRICT;

CREATE INDEX transition_job ON transition (job_id, seq);
CREATE INDEX transition_observed_at ON transition (observed_at);

CREATE TRIGGER transition_is_never_changed BEFORE UPDATE ON transition
BEGIN
    SELECT raise(ABORT, 'the history is append-only');
END;

CREATE TRIGGER transition_goes_only_with_its_job BEFORE DELETE ON transition
WHEN EXISTS (SELECT 1 FROM job WHERE id = OLD.job_id)
BEGIN
    SELECT raise(ABORT, 'the history is append-only: a row goes only with its job');
END;

-- REPLACE deletes without asking the trigger above.
CREATE TRIGGER transition_is_never_replaced BEFORE INSERT ON transition
WHEN EXISTS (SELECT 1 FROM transition WHERE seq = NEW.seq)
BEGIN
    SELECT raise(ABORT, 'the history is append-only');
END;

CREATE TABLE provider_event (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL CHECK (kind IN ('anomaly', 'outage')),
    provider     TEXT,
    job_id       INTEGER REFERENCES job (id) ON DELETE CASCADE,
    began_at     TEXT NOT NULL,
    ended_at     TEXT,
    reason       TEXT NOT NULL,
    failed_polls INTEGER
) STRICT;

CREATE INDEX provider_event_job ON provider_event (job_id);

CREATE VIEW jobs AS
SELECT id, provider, kind, remote_id, state, provider_state, terminal_at IS NOT NULL AS terminal,
       labels, added_by, registered_at, submitted_at, started_at, ended_at, terminal_at, expires_at,
       message, last_polled_at, next_poll_at, polls, failed_polls, last_poll_error, detail
FROM job;

CREATE VIEW history AS
SELECT t.seq, t.job_id, j.provider, j.remote_id, t.from_state, t.to_state, t.provider_state,
       t.evidence, t.occurred_at, t.observed_at, t.earliest_at, t.message
FROM transition AS t JOIN job AS j ON j.id = t.job_id;

-- The last row of a terminal job is its end. Delays count from registration at the earliest.
CREATE VIEW runs AS
SELECT j.id AS job_id, j.provider, j.kind, j.remote_id, j.labels, j.state, j.registered_at,
       j.terminal_at,
       round((julianday(j.started_at) - julianday(j.submitted_at)) * 86400.0, 3) AS pending_s,
       round((julianday(j.ended_at) - julianday(j.started_at)) * 86400.0, 3) AS running_s,
       round(max(0.0, julianday(t.observed_at)
             - julianday(max(t.occurred_at, j.registered_at))) * 86400.0, 3) AS detection_delay_s,
       round(max(0.0, julianday(t.observed_at)
             - julianday(max(coalesce(t.earliest_at, ''), j.registered_at))) * 86400.0, 3)
           AS detection_delay_max_s,
       j.polls, j.message
FROM job AS j
JOIN transition AS t ON t.seq = (SELECT max(seq) FROM transition WHERE job_id = j.id)
WHERE j.terminal_at IS NOT NULL;

CREATE VIEW outages AS
SELECT provider, began_at, ended_at, reason, failed_polls
FROM provider_event
WHERE kind = 'outage';
