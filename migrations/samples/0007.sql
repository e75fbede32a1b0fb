-- Version 7 adds the price of a job.
INSERT INTO job (id, provider, kind, remote_id, state, registered_at, price, last_transition_at, furthest_step)
VALUES (7, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF7', 'registered', '2026-11-21 12:20:00.000', '1m 30s',
        '2026-11-21 12:20:00.000', 'registered'),
       (8, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF8', 'registered', '2026-11-21 12:20:00.000', 'auto',
        '2026-11-21 12:20:00.000', 'registered');
INSERT INTO transition (job_id, to_state, evidence, observed_at)
VALUES (7, 'registered', 'local', '2026-11-21 12:20:00.000'),
       (8, 'registered', 'local', '2026-11-21 12:20:00.000');
