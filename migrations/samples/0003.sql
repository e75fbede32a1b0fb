-- What schema version 3 added, as it looks in use; it comes on top of the sample of version 2.
UPDATE job SET listed_at = '2026-11-21 12:00:00.000' WHERE id = 1;
