-- Version 3 adds the audit.
INSERT INTO audit_event (requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id, outcome, detail)
VALUES ('2026-11-21 10:00:30.000', 'socket', 1000, 'alice', 4711, 'cancel', 'dune', 2,
        '01GBM4W2N0NMCGPZYW8AYK4YF2', 'failed', 'HTTP 403'),
       ('2026-11-21 10:01:00.000', 'signal', NULL, NULL, NULL, 'reload', NULL, NULL, NULL, 'done',
        'no settings changed'),
       ('2026-11-21 11:20:00.000', 'socket', 1000, 'alice', 4712, 'untrack', 'dune', 3,
        '01GBM4W2N0NMCGPZYW8AYK4YF3', 'done', NULL);
