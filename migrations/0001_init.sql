-- The registry of jobs, their history, and the views that users query; docs/sql.md documents the views.
--
-- Times are UTC text with milliseconds: 2026-11-21 23:17:05.123. Columns named _s and `seconds` hold
-- seconds, columns named _ms milliseconds. labels, detail and similarity_keys hold JSON.
--
-- No table is STRICT: sqlite3 before 3.37 reports a schema with a STRICT table as corrupt. CHECK
-- constraints on typeof() reject values of another type instead. The views use no function that
-- sqlite3 3.26 or DuckDB lacks, and none that the two define differently; the triggers may, because
-- only jobtrackd's own SQLite runs them.

PRAGMA application_id = 0x6A74726B; -- "jtrk"
PRAGMA user_version = 1;            -- always the number of the newest migration

CREATE TABLE job (
    id                    INTEGER PRIMARY KEY AUTOINCREMENT,
    provider              TEXT NOT NULL CHECK (typeof(provider) = 'text'),
    kind                  TEXT NOT NULL CHECK (typeof(kind) = 'text'),
    remote_id             TEXT NOT NULL CHECK (typeof(remote_id) = 'text'),
    source                TEXT CHECK (typeof(source) IN ('text', 'null')),
    state                 TEXT NOT NULL CHECK (state IN
                              ('registered', 'pending', 'running', 'unknown', 'succeeded', 'failed',
                               'cancelled', 'expired', 'indeterminate', 'lost', 'untracked')),
    provider_state        TEXT CHECK (typeof(provider_state) IN ('text', 'null')),
    labels                TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(labels)),
    -- A JSON string: the user chose the key. A JSON array: the provider's answers name the keys, the
    -- closest first. NULL: no key is known.
    similarity_keys       TEXT CHECK (json_type(similarity_keys) IN ('text', 'array')),
    added_by_uid          INTEGER CHECK (typeof(added_by_uid) IN ('integer', 'null')),
    added_by_user         TEXT CHECK (typeof(added_by_user) IN ('text', 'null')),
    registered_at         TEXT NOT NULL CHECK (typeof(registered_at) = 'text'),
    submitted_at          TEXT CHECK (typeof(submitted_at) IN ('text', 'null')),
    started_at            TEXT CHECK (typeof(started_at) IN ('text', 'null')),
    ended_at              TEXT CHECK (typeof(ended_at) IN ('text', 'null')),
    expires_at            TEXT CHECK (typeof(expires_at) IN ('text', 'null')),
    deadline_at           TEXT CHECK (typeof(deadline_at) IN ('text', 'null')),
    terminal_at           TEXT CHECK (typeof(terminal_at) IN ('text', 'null')),
    message               TEXT CHECK (typeof(message) IN ('text', 'null')),
    last_polled_at        TEXT CHECK (typeof(last_polled_at) IN ('text', 'null')),
    next_poll_at          TEXT CHECK (typeof(next_poll_at) IN ('text', 'null')),
    -- When the request whose answer was the last valid one was sent.
    last_success_sent_at  TEXT CHECK (typeof(last_success_sent_at) IN ('text', 'null')),
    -- The time by which the provider's list of jobs is sorted: finds the page that shows this job.
    list_time             TEXT CHECK (typeof(list_time) IN ('text', 'null')),
    polls                 INTEGER NOT NULL DEFAULT 0 CHECK (typeof(polls) = 'integer'),
    failed_polls          INTEGER NOT NULL DEFAULT 0 CHECK (typeof(failed_polls) = 'integer'),
    last_poll_error       TEXT CHECK (typeof(last_poll_error) IN ('text', 'null')),
    -- Computed and written in the transaction that ends the job; NULL before that, or if unknown.
    queue_s               REAL CHECK (queue_s IS NULL OR (typeof(queue_s) = 'real' AND queue_s >= 0)),
    run_s                 REAL CHECK (run_s IS NULL OR (typeof(run_s) = 'real' AND run_s >= 0)),
    total_s               REAL CHECK (total_s IS NULL OR (typeof(total_s) = 'real' AND total_s >= 0)),
    detection_delay_s     REAL CHECK (detection_delay_s IS NULL OR
                              (typeof(detection_delay_s) = 'real' AND detection_delay_s >= 0)),
    detection_delay_max_s REAL CHECK (detection_delay_max_s IS NULL OR
                              (typeof(detection_delay_max_s) = 'real' AND detection_delay_max_s >= 0)),
    credits               REAL CHECK (typeof(credits) IN ('real', 'null')),
    detail                TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(detail)),
    CHECK ((terminal_at IS NULL) = (state IN ('registered', 'pending', 'running', 'unknown')))
);

CREATE UNIQUE INDEX job_identity ON job (remote_id, provider) WHERE state NOT IN ('untracked', 'lost');
CREATE INDEX job_remote_id ON job (remote_id, provider);
-- The id is the last column of every index, so this one yields unfinished jobs in the order of their ids.
CREATE INDEX job_active ON job (terminal_at) WHERE terminal_at IS NULL;
CREATE INDEX job_terminal_at ON job (terminal_at) WHERE terminal_at IS NOT NULL;
CREATE INDEX job_registered_at ON job (registered_at);

CREATE TABLE transition (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id         INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    from_state     TEXT CHECK (typeof(from_state) IN ('text', 'null')),
    to_state       TEXT NOT NULL CHECK (typeof(to_state) = 'text'),
    provider_state TEXT CHECK (typeof(provider_state) IN ('text', 'null')),
    evidence       TEXT NOT NULL CHECK (evidence IN ('observed', 'reported', 'local')),
    occurred_at    TEXT CHECK (typeof(occurred_at) IN ('text', 'null')),
    observed_at    TEXT NOT NULL CHECK (typeof(observed_at) = 'text'),
    earliest_at    TEXT CHECK (typeof(earliest_at) IN ('text', 'null')),
    message        TEXT CHECK (typeof(message) IN ('text', 'null'))
);

CREATE INDEX transition_job ON transition (job_id, seq);
CREATE INDEX transition_observed_at ON transition (observed_at);

CREATE TRIGGER transition_is_never_changed BEFORE UPDATE ON transition
BEGIN
    SELECT raise(ABORT, 'the history is append-only');
END;

CREATE TRIGGER transition_is_deleted_only_with_its_job BEFORE DELETE ON transition
WHEN EXISTS (SELECT 1 FROM job WHERE id = OLD.job_id)
BEGIN
    SELECT raise(ABORT, 'the history is append-only: a transition is deleted only with its job');
END;

-- REPLACE deletes the old row without running the trigger above.
CREATE TRIGGER transition_is_never_replaced BEFORE INSERT ON transition
WHEN EXISTS (SELECT 1 FROM transition WHERE seq = NEW.seq)
BEGIN
    SELECT raise(ABORT, 'the history is append-only');
END;

-- One row for each stay of a job in a state, derived from `transition` by the trigger below. Stored,
-- because date arithmetic in a view is not portable, and window functions over the whole history
-- would make a query for one job slow.
CREATE TABLE span (
    job_id           INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    seq              INTEGER NOT NULL, -- of the transition into the state
    state            TEXT NOT NULL,
    from_at          TEXT NOT NULL,
    from_earliest_at TEXT,
    from_latest_at   TEXT NOT NULL,
    to_at            TEXT,
    to_earliest_at   TEXT,
    to_latest_at     TEXT,
    seconds          REAL CHECK (seconds >= 0),
    PRIMARY KEY (job_id, seq)
) WITHOUT ROWID;

-- A transition from a state to itself records another provider state, and begins no span.
CREATE TRIGGER transition_begins_a_span AFTER INSERT ON transition
WHEN NEW.from_state IS NOT NEW.to_state
BEGIN
    -- The provider's clock and ours can disagree: a span never ends before it began.
    UPDATE span
    SET to_at = max(from_at, coalesce(NEW.occurred_at, NEW.observed_at)),
        to_earliest_at = NEW.earliest_at,
        to_latest_at = NEW.observed_at,
        seconds = round(max(0.0, (julianday(coalesce(NEW.occurred_at, NEW.observed_at))
                                  - julianday(from_at)) * 86400.0), 3)
    WHERE job_id = NEW.job_id AND to_at IS NULL;
    INSERT INTO span (job_id, seq, state, from_at, from_earliest_at, from_latest_at)
    VALUES (NEW.job_id, NEW.seq, NEW.to_state, coalesce(NEW.occurred_at, NEW.observed_at),
            NEW.earliest_at, NEW.observed_at);
END;

CREATE TABLE provider_event (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL CHECK (kind IN ('anomaly', 'outage')),
    provider     TEXT CHECK (typeof(provider) IN ('text', 'null')), -- NULL: an outage of jobtrackd itself
    job_id       INTEGER REFERENCES job (id) ON DELETE CASCADE,
    began_at     TEXT NOT NULL CHECK (typeof(began_at) = 'text'),
    ended_at     TEXT CHECK (typeof(ended_at) IN ('text', 'null')),
    reason       TEXT NOT NULL CHECK (typeof(reason) = 'text'),
    failed_polls INTEGER CHECK (typeof(failed_polls) IN ('integer', 'null'))
);

CREATE INDEX provider_event_job ON provider_event (job_id);
-- A provider has at most one open outage; jobtrackd's own outages are written when they are over.
CREATE UNIQUE INDEX provider_event_open_outage ON provider_event (provider)
WHERE kind = 'outage' AND ended_at IS NULL;

-- When each kind of event last happened: a maintenance task, the daemon's heartbeat, a clean shutdown.
CREATE TABLE last_event (
    name        TEXT NOT NULL PRIMARY KEY CHECK (typeof(name) = 'text'),
    happened_at TEXT NOT NULL CHECK (typeof(happened_at) = 'text')
) WITHOUT ROWID;

-- How long finished jobs took: a row for each job whose duration is known, written with its end.
CREATE TABLE duration_sample (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which the jobs ended
    provider        TEXT NOT NULL CHECK (typeof(provider) = 'text'),
    similarity_keys TEXT CHECK (json_type(similarity_keys) IN ('text', 'array')),
    total_ms        INTEGER CHECK (total_ms IS NULL OR (typeof(total_ms) = 'integer' AND total_ms > 0)),
    run_ms          INTEGER CHECK (run_ms IS NULL OR (typeof(run_ms) = 'integer' AND run_ms > 0))
);

CREATE INDEX duration_sample_similarity_keys ON duration_sample (provider, similarity_keys);

-- The policy gives older samples next to no weight: the newest 64 of equal keys are kept…
CREATE TRIGGER duration_sample_is_bounded_by_keys AFTER INSERT ON duration_sample
BEGIN
    DELETE FROM duration_sample
    WHERE provider = NEW.provider AND similarity_keys IS NEW.similarity_keys AND id <= (
        SELECT id FROM duration_sample
        WHERE provider = NEW.provider AND similarity_keys IS NEW.similarity_keys
        ORDER BY id DESC LIMIT 1 OFFSET 64);
END;

-- …and the newest 200,000 of all. Counting is slow, so up to 1,000 more can be there for a while.
CREATE TRIGGER duration_sample_is_bounded AFTER INSERT ON duration_sample WHEN NEW.id % 1000 = 0
BEGIN
    DELETE FROM duration_sample
    WHERE id <= (SELECT id FROM duration_sample ORDER BY id DESC LIMIT 1 OFFSET 200000);
END;

CREATE VIEW jobs AS
SELECT id, provider, kind, remote_id, source, state, provider_state,
       CAST(terminal_at IS NOT NULL AS INTEGER) AS terminal,
       labels, similarity_keys, added_by_uid, added_by_user,
       registered_at, submitted_at, started_at, ended_at, terminal_at, expires_at, deadline_at,
       message, last_polled_at, next_poll_at, polls, failed_polls, last_poll_error,
       queue_s, run_s, total_s, detection_delay_s, detection_delay_max_s, credits, detail
FROM job;

CREATE VIEW history AS
SELECT t.seq, t.job_id, j.provider, j.remote_id, t.from_state, t.to_state, t.provider_state,
       t.evidence, t.occurred_at, t.observed_at, t.earliest_at, t.message
FROM transition AS t JOIN job AS j ON j.id = t.job_id;

CREATE VIEW runs AS
SELECT id AS job_id, provider, kind, remote_id, source, labels, state,
       registered_at, submitted_at, started_at, ended_at, terminal_at,
       queue_s, run_s, total_s, detection_delay_s, detection_delay_max_s, credits, polls, message
FROM job
WHERE terminal_at IS NOT NULL;

CREATE VIEW spans AS
SELECT s.job_id, j.provider, j.kind, j.remote_id, s.state, s.from_at, s.to_at, s.seconds,
       s.from_earliest_at, s.from_latest_at, s.to_earliest_at, s.to_latest_at
FROM span AS s JOIN job AS j ON j.id = s.job_id;

CREATE VIEW outages AS
SELECT provider, began_at, ended_at, reason, failed_polls
FROM provider_event
WHERE kind = 'outage';
