-- The identity of the database: a start compares the database file with the write-ahead log beside it,
-- and a running daemon notices that the file was overwritten.

PRAGMA user_version = 2; -- always the number of the newest migration

-- One row. Each transaction of jobtrackd adds one to `commits`.
CREATE TABLE database_identity (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    uuid    TEXT NOT NULL CHECK (typeof(uuid) = 'text' AND length(uuid) = 32),
    commits INTEGER NOT NULL DEFAULT 0 CHECK (typeof(commits) = 'integer')
);

INSERT INTO database_identity (id, uuid) VALUES (1, lower(hex(randomblob(16))));
