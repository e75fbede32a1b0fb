-- Version 6 copies labels to a table, and the job's last transition to its row.
INSERT INTO job (id, provider, kind, remote_id, state, labels, registered_at, last_transition_at, furthest_step)
VALUES (6, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF6', 'registered', '{"batch":"7","team":"data"}',
        '2026-11-21 12:10:00.000', '2026-11-21 12:10:00.000', 'registered');
INSERT INTO transition (job_id, to_state, evidence, observed_at)
VALUES (6, 'registered', 'local', '2026-11-21 12:10:00.000');
