-- A database of schema version 1 as it looks in use; every later migration must carry it over.
INSERT INTO job (id, provider, kind, remote_id, state, provider_state, labels, added_by, registered_at,
                 submitted_at, started_at, ended_at, expires_at, terminal_at, last_polled_at, polls, detail)
VALUES (1, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF1', 'succeeded', 'QUERY_STATE_COMPLETED',
        '{"team":"data"}', 1000, '2026-11-21 10:00:00.000', '2026-11-21 09:59:58.000',
        '2026-11-21 10:00:01.500', '2026-11-21 10:03:00.250', '2027-02-19 10:03:00.250',
        '2026-11-21 10:03:04.500', '2026-11-21 10:03:04.500', 9, '{"query_id":980708}');
INSERT INTO job (id, provider, kind, remote_id, state, provider_state, registered_at, submitted_at, started_at,
                 last_polled_at, next_poll_at, answered_from, polls, failed_polls, last_poll_error)
VALUES (2, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF2', 'running', 'QUERY_STATE_EXECUTING',
        '2026-11-21 11:00:00.000', '2026-11-21 11:00:00.000', '2026-11-21 11:00:02.000',
        '2026-11-21 11:00:09.000', '2026-11-21 11:00:14.000', '2026-11-21 11:00:04.000', 3, 1, 'HTTP 502');
INSERT INTO job (id, provider, kind, remote_id, state, registered_at, terminal_at, message)
VALUES (3, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF3', 'untracked',
        '2026-11-21 11:10:00.000', '2026-11-21 11:20:00.000', 'untracked on request');

INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence, occurred_at, observed_at, earliest_at, message)
VALUES (1, NULL, 'registered', NULL, 'local', NULL, '2026-11-21 10:00:00.000', NULL, NULL),
       (1, 'registered', 'pending', 'QUERY_STATE_PENDING', 'observed', '2026-11-21 09:59:58.000', '2026-11-21 10:00:00.400', NULL, NULL),
       (1, 'pending', 'running', NULL, 'reported', '2026-11-21 10:00:01.500', '2026-11-21 10:03:04.500', '2026-11-21 10:02:00.100', NULL),
       (1, 'running', 'succeeded', 'QUERY_STATE_COMPLETED', 'observed', '2026-11-21 10:03:00.250', '2026-11-21 10:03:04.500', '2026-11-21 10:02:00.100', NULL),
       (2, NULL, 'registered', NULL, 'local', NULL, '2026-11-21 11:00:00.000', NULL, NULL),
       (2, 'registered', 'pending', NULL, 'reported', '2026-11-21 11:00:00.000', '2026-11-21 11:00:04.300', NULL, NULL),
       (2, 'pending', 'running', 'QUERY_STATE_EXECUTING', 'observed', '2026-11-21 11:00:02.000', '2026-11-21 11:00:04.300', NULL, NULL),
       (3, NULL, 'registered', NULL, 'local', NULL, '2026-11-21 11:10:00.000', NULL, NULL),
       (3, 'registered', 'untracked', NULL, 'local', NULL, '2026-11-21 11:20:00.000', NULL, 'untracked on request');

INSERT INTO provider_event (kind, provider, job_id, began_at, reason)
VALUES ('anomaly', 'dune', 1, '2026-11-21 12:00:00.000', 'recorded as succeeded, now reported as running');
INSERT INTO provider_event (kind, provider, began_at, ended_at, reason, failed_polls)
VALUES ('outage', 'dune', '2026-11-21 12:30:00.000', '2026-11-21 12:40:00.000', 'HTTP 502', 12);
