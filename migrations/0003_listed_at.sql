-- Where the provider's list shows a job, so that after a restart too one page answers for many.

PRAGMA user_version = 3;

ALTER TABLE job ADD COLUMN listed_at TEXT;
