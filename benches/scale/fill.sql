-- Fills an empty database: {active} unfinished jobs, a tenth as many finished ones with lower ids, and about
-- {rounds} transitions a job. The transitions of a job are far from each other, as they are in use. The
-- program drops indexes and triggers before, and creates them again after this script.

INSERT INTO job (id, provider, kind, remote_id, source, state, provider_state, labels, similarity_keys,
                 added_by_uid, added_by_user, registered_at, submitted_at, started_at, ended_at,
                 terminal_at, last_polled_at, next_poll_at, last_success_sent_at, polls, run_s, total_s)
WITH RECURSIVE number (id) AS (
    VALUES (1) UNION ALL SELECT id + 1 FROM number WHERE id < {active} + {finished})
SELECT id, 'dune', 'dune', printf('01%024d', id), CAST(980000 + id % 50 AS TEXT),
       CASE WHEN id <= {finished} THEN iif(id % 100 = 0, 'failed', 'succeeded')
            WHEN id % 10 < 3 THEN 'pending' ELSE 'running' END,
       CASE WHEN id <= {finished} THEN iif(id % 100 = 0, 'QUERY_STATE_FAILED', 'QUERY_STATE_COMPLETED')
            WHEN id % 10 < 3 THEN 'QUERY_STATE_PENDING' ELSE 'QUERY_STATE_EXECUTING' END,
       iif(id % 2 = 0, json_object('batch', 'b' || (id / 1000), 'team', 't' || (id % 7)), '{}'),
       '["query ' || (980000 + id % 50) || '"]', 1000, 'alice',
       strftime('%Y-%m-%d %H:%M:%f', {epoch} + id / 10.0, 'unixepoch'),
       strftime('%Y-%m-%d %H:%M:%f', {epoch} + id / 10.0, 'unixepoch'),
       strftime('%Y-%m-%d %H:%M:%f', {epoch} + 1 + id / 10.0, 'unixepoch'),
       iif(id <= {finished}, strftime('%Y-%m-%d %H:%M:%f', {epoch} + 101 + id / 10.0, 'unixepoch'), NULL),
       iif(id <= {finished}, strftime('%Y-%m-%d %H:%M:%f', {epoch} + 103 + id / 10.0, 'unixepoch'), NULL),
       strftime('%Y-%m-%d %H:%M:%f', {epoch} + 103 + id / 10.0, 'unixepoch'),
       -- Some 2,000 jobs are due at once, the others in years.
       CASE WHEN id > {finished}
            THEN iif(id % ({active} / 2000 + 1) = 0, '2026-01-01 00:00:00.000', '2099-01-01 00:00:00.000')
       END,
       strftime('%Y-%m-%d %H:%M:%f', {epoch} + 102 + id / 10.0, 'unixepoch'), {rounds},
       iif(id <= {finished}, 100.0, NULL), iif(id <= {finished}, 101.0, NULL)
FROM number;

-- Round by round, in another order of the jobs in each. The last round leads the job to its state.
INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence, observed_at)
WITH RECURSIVE round (r) AS (
    VALUES (0) UNION ALL SELECT r + 1 FROM round WHERE r < {rounds} - 1),
step (r, last, from_state, to_state, word) AS (
    SELECT r, r = {rounds} - 1,
           CASE r WHEN 0 THEN NULL WHEN 1 THEN 'registered' ELSE iif(r % 2 = 0, 'pending', 'running') END,
           CASE r WHEN 0 THEN 'registered' ELSE iif(r % 2 = 1, 'pending', 'running') END,
           CASE r WHEN 0 THEN NULL ELSE iif(r % 2 = 1, 'QUERY_STATE_PENDING', 'QUERY_STATE_EXECUTING') END
    FROM round),
number (k) AS (
    VALUES (0) UNION ALL SELECT k + 1 FROM number WHERE k < {active} + {finished} - 1),
row (r, last, from_state, to_state, word, id) AS (
    SELECT r, last, from_state, to_state, word, 1 + (k * 7919 + r * 31337) % ({active} + {finished})
    FROM step CROSS JOIN number)
SELECT id, from_state, iif(id <= {finished} AND r = 3, iif(id % 100 = 0, 'failed', 'succeeded'), to_state),
       iif(id <= {finished} AND r = 3, iif(id % 100 = 0, 'QUERY_STATE_FAILED', 'QUERY_STATE_COMPLETED'), word),
       iif(r = 0, 'local', 'observed'),
       strftime('%Y-%m-%d %H:%M:%f', {epoch} + r * 200000 + id / 10.0, 'unixepoch')
FROM row
WHERE iif(id <= {finished}, r <= 3, NOT last OR (id % 10 < 3) = (to_state = 'pending'));

CREATE INDEX by_job ON transition (job_id, seq);

INSERT INTO span (job_id, seq, state, from_at, from_latest_at, to_at, to_latest_at, seconds)
SELECT job_id, seq, to_state, observed_at, observed_at, next, next,
       round(max(0.0, (julianday(next) - julianday(observed_at)) * 86400.0), 3)
FROM (SELECT job_id, seq, to_state, observed_at,
             lead(observed_at) OVER (PARTITION BY job_id ORDER BY seq) AS next
      FROM transition INDEXED BY by_job);

UPDATE job
SET last_transition_at = (SELECT observed_at FROM transition INDEXED BY by_job
                          WHERE job_id = job.id ORDER BY seq DESC LIMIT 1),
    furthest_step = 'running';

DROP INDEX by_job;

INSERT INTO job_label (key, value, job_id)
SELECT label.key, label.value, job.id FROM job, json_each(job.labels) AS label ORDER BY 1, 2, 3;
