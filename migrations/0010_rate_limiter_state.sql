-- What the rate limiters leave to the next process, so that the first requests after a restart need not wait.

PRAGMA user_version = 10; -- always the number of the newest migration

-- Written at a clean shutdown. Times are milliseconds since a minute before the shutdown.
CREATE TABLE rate_limiter_state (
    providers    TEXT NOT NULL PRIMARY KEY CHECK (typeof(providers) = 'text'), -- of one account, such as 'dli, dune'; '': all others
    next_slot_ms INTEGER NOT NULL CHECK (typeof(next_slot_ms) = 'integer' AND next_slot_ms >= 0),
    completed_ms TEXT NOT NULL CHECK (json_type(completed_ms) = 'array'), -- the ends of requests
    -- The next start takes the rows over. The start after that deletes them, unless a clean shutdown came before.
    taken_over   INTEGER NOT NULL DEFAULT 0 CHECK (typeof(taken_over) = 'integer' AND taken_over IN (0, 1))
) WITHOUT ROWID;
