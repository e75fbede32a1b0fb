-- A search by label, and a start that reads one table. docs/sql.md documents the view.

PRAGMA user_version = 6; -- always the number of the newest migration

-- A program that deletes a job or changes its labels runs the triggers below, so they use nothing that sqlite3 3.26
-- with its JSON functions lacks.

-- The labels of the column `job.labels`, which the triggers below copy: a list by label is a search by the
-- primary key, in the order of the ids. A value that is not a text is no label, and JSON that is not an object
-- has none: only another program can have written either.
CREATE TABLE job_label (
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    job_id INTEGER NOT NULL,
    PRIMARY KEY (key, value, job_id)
) WITHOUT ROWID;

-- OR IGNORE: another program may have written an object that has a key twice. Neither DISTINCT nor ORDER BY: they
-- would keep all labels in memory.
INSERT OR IGNORE INTO job_label (key, value, job_id)
SELECT label.key, label.value, job.id
FROM job, json_each(job.labels) AS label
WHERE job.labels <> '{}' AND json_type(job.labels) = 'object' AND label.type = 'text';

CREATE TRIGGER job_label_is_inserted AFTER INSERT ON job WHEN NEW.labels <> '{}'
BEGIN
    INSERT OR IGNORE INTO job_label (key, value, job_id)
    SELECT key, value, NEW.id FROM json_each(NEW.labels)
    WHERE json_type(NEW.labels) = 'object' AND type = 'text';
END;

CREATE TRIGGER job_label_is_updated AFTER UPDATE OF labels ON job WHEN NEW.labels <> OLD.labels
BEGIN
    DELETE FROM job_label
    WHERE job_id = OLD.id AND (key, value) IN (SELECT key, value FROM json_each(OLD.labels));
    INSERT OR IGNORE INTO job_label (key, value, job_id)
    SELECT key, value, NEW.id FROM json_each(NEW.labels)
    WHERE json_type(NEW.labels) = 'object' AND type = 'text';
END;

CREATE TRIGGER job_label_is_deleted AFTER DELETE ON job WHEN OLD.labels <> '{}'
BEGIN
    DELETE FROM job_label
    WHERE job_id = OLD.id AND (key, value) IN (SELECT key, value FROM json_each(OLD.labels));
END;

CREATE VIEW job_labels AS
SELECT job_id, key, value
FROM job_label;

-- A list by state is a search, in the order of the ids.
CREATE INDEX job_state ON job (state);

-- What a start needs of the job's transitions. NULL: the last transition was written before version 6.
-- The first is observed_at of the last one, the second the furthest step that has one.
ALTER TABLE job ADD COLUMN last_transition_at TEXT CHECK (typeof(last_transition_at) IN ('text', 'null'));
ALTER TABLE job ADD COLUMN furthest_step TEXT CHECK (furthest_step IN ('registered', 'pending', 'running'));
