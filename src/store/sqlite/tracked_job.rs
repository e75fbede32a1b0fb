//! The SQL expression that finds the job that a new job already is.
//!
//! Used where jobs are registered. The index `job_remote_id_any_case` is used.

/// The id of the tracked job with the provider and the remote id of the JSON object `new.value`; NULL if there
/// is none. An id with other spellings is also found in each of them, in any case. An older version could add
/// such an id twice: then the job with exactly this id is found, else the first one.
pub(super) const TRACKED_JOB_ID: &str = "coalesce(
    (SELECT tracked.id FROM job AS tracked
     WHERE tracked.remote_id = new.value ->> 'remote_id'
       AND tracked.provider = new.value ->> 'provider'
       AND tracked.state NOT IN ('untracked', 'lost')),
    (SELECT min(tracked.id) FROM job AS tracked
     WHERE tracked.remote_id COLLATE NOCASE IN (SELECT value FROM json_each(new.value -> 'spellings'))
       AND tracked.provider = new.value ->> 'provider'
       AND tracked.state NOT IN ('untracked', 'lost')))";
