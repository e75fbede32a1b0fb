-- Version 8 permits two jobs with the same id, of which one has ended.
INSERT INTO job (id, provider, kind, remote_id, state, registered_at, last_transition_at, furthest_step)
SELECT 9, provider, kind, remote_id, 'registered', '2026-11-21 12:30:00.000', '2026-11-21 12:30:00.000', 'registered'
FROM job WHERE state = 'succeeded' ORDER BY id LIMIT 1;
INSERT INTO transition (job_id, to_state, evidence, observed_at)
VALUES (9, 'registered', 'local', '2026-11-21 12:30:00.000');
