-- Version 9 adds pinned jobs, and the commands pin and unpin to the audit.
INSERT INTO job (id, provider, kind, remote_id, state, registered_at, pinned, last_transition_at, furthest_step)
VALUES (10, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YFA', 'registered', '2026-11-21 12:40:00.000', 1,
        '2026-11-21 12:40:00.000', 'registered');
INSERT INTO transition (job_id, to_state, evidence, observed_at)
VALUES (10, 'registered', 'local', '2026-11-21 12:40:00.000');
INSERT INTO audit_event (requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id, outcome)
VALUES ('2026-11-21 12:41:00.000', 'socket', 1000, 'alice', 4713, 'pin', 'dune', 10, '01GBM4W2N0NMCGPZYW8AYK4YFA',
        'done');
