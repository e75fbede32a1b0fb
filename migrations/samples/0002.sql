-- Version 2 adds one row, which the migration writes; here after some transactions.
UPDATE database_identity SET commits = 41;
