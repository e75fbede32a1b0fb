-- How long jobs took, for those like them: a row for each run that ended, written with its end.

PRAGMA user_version = 4;

-- Which past runs a job is like. A text: its user said so. An array: its provider told it, the
-- closest name first. NULL: nothing is known.
ALTER TABLE job ADD COLUMN likeness TEXT CHECK (json_type(likeness) IN ('text', 'array'));

CREATE TABLE lesson (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were learned
    provider   TEXT NOT NULL,
    likeness   TEXT CHECK (json_type(likeness) IN ('text', 'array')),
    whole_ms   INTEGER CHECK (whole_ms > 0),   -- from submission to end, NULL if not known
    running_ms INTEGER CHECK (running_ms > 0)  -- of that its run, NULL if not known
) STRICT;

CREATE INDEX lesson_likeness ON lesson (provider, likeness); -- the newest last, as an index ends in id

-- Older runs count for next to nothing: of those that are alike 64 stay…
CREATE TRIGGER lesson_fades AFTER INSERT ON lesson
BEGIN
    DELETE FROM lesson
    WHERE provider = NEW.provider AND likeness IS NEW.likeness AND id <= (
        SELECT id FROM lesson WHERE provider = NEW.provider AND likeness IS NEW.likeness
        ORDER BY id DESC LIMIT 1 OFFSET 64);
END;

-- …and of all 200,000, or up to a thousand more: counting takes a while.
CREATE TRIGGER lesson_is_bounded AFTER INSERT ON lesson WHEN NEW.id % 1000 = 0
BEGIN
    DELETE FROM lesson WHERE id <= (SELECT id FROM lesson ORDER BY id DESC LIMIT 1 OFFSET 200000);
END;

DROP VIEW jobs;

CREATE VIEW jobs AS
SELECT id, provider, kind, remote_id, state, provider_state, terminal_at IS NOT NULL AS terminal,
       labels, added_by, registered_at, submitted_at, started_at, ended_at, terminal_at, expires_at,
       message, last_polled_at, next_poll_at, polls, failed_polls, last_poll_error, detail, likeness
FROM job;
