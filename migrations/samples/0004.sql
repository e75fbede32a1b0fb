-- What schema version 4 added, as it looks in use; it comes on top of the sample of version 3.
UPDATE job SET likeness = '["query 980708"]' WHERE id = 1;
UPDATE job SET likeness = '"nightly"' WHERE id = 2;
INSERT INTO lesson (provider, likeness, whole_ms, running_ms)
VALUES ('dune', '["query 980708"]', 182250, 178750), ('dune', '"nightly"', 3600000, NULL),
       ('dune', NULL, 60000, 58000);
