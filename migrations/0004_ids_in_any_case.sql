-- Some ids are the same in capitals and in small letters: this index finds a job by its id in any case.

PRAGMA user_version = 4; -- always the number of the newest migration

CREATE INDEX job_remote_id_any_case ON job (remote_id COLLATE NOCASE, provider);
