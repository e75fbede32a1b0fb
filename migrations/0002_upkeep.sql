-- When something was last done: a kind of housekeeping, a sign of life, an ordered end.

PRAGMA user_version = 2;

CREATE TABLE milestone (
    name TEXT PRIMARY KEY,
    at   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One outage of a provider is open at a time; the daemon's own are closed when they are written.
CREATE UNIQUE INDEX provider_event_open_outage ON provider_event (provider)
WHERE kind = 'outage' AND ended_at IS NULL;
