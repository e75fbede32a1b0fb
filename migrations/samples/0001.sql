-- A database of schema version 1 as it looks in use; every later migration must preserve these rows.
INSERT INTO job (id, provider, kind, remote_id, source, state, provider_state, labels, similarity_keys,
                 added_by_uid, added_by_user, registered_at, submitted_at, started_at, ended_at,
                 expires_at, deadline_at, terminal_at, last_polled_at, polls, queue_s, run_s, total_s,
                 detection_delay_s, detection_delay_max_s, credits, detail)
VALUES (1, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF1', '980708', 'succeeded', 'QUERY_STATE_COMPLETED',
        '{"team":"data"}', '["query 980708"]', 1000, 'alice', '2026-11-21 10:00:00.000',
        '2026-11-21 09:59:58.000', '2026-11-21 10:00:01.500', '2026-11-21 10:03:00.250',
        '2027-02-19 10:03:00.250', '2026-11-21 12:00:00.000', '2026-11-21 10:03:04.500',
        '2026-11-21 10:03:04.500', 9, 3.5, 178.75, 182.25, 4.25, 64.4, 1.5, '{"query_id":980708}');
INSERT INTO job (id, provider, kind, remote_id, source, state, provider_state, similarity_keys,
                 registered_at, submitted_at, started_at, last_polled_at, next_poll_at,
                 last_success_sent_at, polls, failed_polls, last_poll_error)
VALUES (2, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF2', '980709', 'running', 'QUERY_STATE_EXECUTING',
        '"nightly"', '2026-11-21 11:00:00.000', '2026-11-21 11:00:00.000', '2026-11-21 11:00:02.000',
        '2026-11-21 11:00:09.000', '2026-11-21 11:00:14.000', '2026-11-21 11:00:04.000', 3, 1, 'HTTP 502');
INSERT INTO job (id, provider, kind, remote_id, state, registered_at, terminal_at, message)
VALUES (3, 'dune', 'dune', '01GBM4W2N0NMCGPZYW8AYK4YF3', 'untracked',
        '2026-11-21 11:10:00.000', '2026-11-21 11:20:00.000', 'untracked on request');
INSERT INTO job (id, provider, kind, remote_id, source, state, provider_state, labels, similarity_keys,
                 registered_at, ended_at, terminal_at, last_polled_at, list_time, polls, run_s,
                 detection_delay_s, detection_delay_max_s, message, detail)
VALUES (4, 'lake', 'dli', '208b08d4-0dc2-4dd7-8879-ddd4c020d7aa', 'default', 'failed', 'FAILED',
        '{"team":"data"}', '["queue default, SQL"]', '2026-11-21 10:00:00.000',
        '2026-11-21 10:00:20.500', '2026-11-21 10:00:30.000', '2026-11-21 10:00:30.000',
        '2026-11-21 10:00:00.500', 4, 20.0, 9.5, 10.1, 'table not found', '{"queue_name":"default"}');

INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence, occurred_at, observed_at, earliest_at, message)
VALUES (1, NULL, 'registered', NULL, 'local', NULL, '2026-11-21 10:00:00.000', NULL, NULL),
       (4, NULL, 'registered', NULL, 'local', NULL, '2026-11-21 10:00:00.000', NULL, NULL),
       (1, 'registered', 'pending', 'QUERY_STATE_PENDING', 'observed', '2026-11-21 09:59:58.000', '2026-11-21 10:00:00.400', NULL, NULL),
       (4, 'registered', 'running', 'RUNNING', 'observed', NULL, '2026-11-21 10:00:10.000', '2026-11-21 10:00:01.000', NULL),
       (4, 'running', 'running', 'SCALING', 'observed', NULL, '2026-11-21 10:00:20.000', '2026-11-21 10:00:09.900', NULL),
       (4, 'running', 'failed', 'FAILED', 'observed', '2026-11-21 10:00:20.500', '2026-11-21 10:00:30.000', '2026-11-21 10:00:19.900', 'table not found'),
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
VALUES ('outage', 'dune', '2026-11-21 12:30:00.000', '2026-11-21 12:40:00.000', 'HTTP 502', 12),
       ('outage', NULL, '2026-11-21 12:44:10.000', '2026-11-21 12:45:02.000', 'jobtrackd was stopped', NULL);
INSERT OR REPLACE INTO last_event (name, happened_at)
VALUES ('heartbeat', '2026-11-21 12:50:00.000'), ('prune', '2026-11-21 03:17:00.000');
INSERT INTO duration_sample (provider, similarity_keys, total_ms, run_ms)
VALUES ('dune', '["query 980708"]', 182250, 178750), ('dune', '"nightly"', 3600000, NULL),
       ('dune', NULL, 60000, 58000), ('lake', '["queue default, SQL"]', 20000, 20000);
