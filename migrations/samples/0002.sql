-- What schema version 2 added, as it looks in use; it comes on top of the sample of version 1.
INSERT INTO milestone (name, at)
VALUES ('alive', '2026-11-21 12:50:00.000'), ('prune', '2026-11-21 03:17:00.000');
INSERT INTO provider_event (kind, provider, began_at, ended_at, reason)
VALUES ('outage', NULL, '2026-11-21 12:44:10.000', '2026-11-21 12:45:02.000', 'jobtrackd was stopped');
