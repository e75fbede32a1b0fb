-- Version 5 adds refused commands and backups to the audit.
INSERT INTO audit_event (requested_at, origin, uid, user_name, pid, command, outcome, detail, count) VALUES
    ('2026-11-21 12:00:00.000', 'socket', 1000, 'alice', 4711, 'backup', 'done', 'a copy of 131072 bytes', 1),
    ('2026-11-21 12:00:01.000', 'socket', 1000, 'alice', 4712, 'cancel', 'refused', 'no job 999', 217);
