//! The rows of the audit. Called by `write` and `register`, inside the transaction of the change that a
//! command caused, and by `maintenance`, which deletes old rows.

use std::time::Duration;

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use crate::job::{
    AuditEntry, AuditTarget, JobId, Labels, NewJob, ProviderName, RemoteId, Requester, State,
    UtcTime,
};

use super::json_rows::to_json;
use super::script::Script;
use super::time::{SqlTime, to_sql};

const INSERT_ENTRIES: &str = "
    INSERT INTO audit_event (requested_at, origin, uid, user_name, pid, command, provider, job_id,
                             remote_id, outcome, detail, count)
    SELECT value ->> 'requested_at', value ->> 'origin', value ->> 'uid', value ->> 'user_name',
           value ->> 'pid', value ->> 'command', value ->> 'provider', value ->> 'job_id',
           value ->> 'remote_id', value ->> 'outcome', value ->> 'detail', value ->> 'count'
    FROM json_each(?) ORDER BY key";

/// The same conditions as the statement that merges the labels afterwards.
const INSERT_LABEL_CHANGES: &str = "
    INSERT INTO audit_event (requested_at, origin, uid, user_name, command, provider, job_id,
                             remote_id, outcome, detail)
    SELECT value ->> 'requested_at', 'socket', value ->> 'uid', value ->> 'user_name', 'label',
           job.provider, job.id, job.remote_id, 'done', value ->> 'labels'
    FROM json_each(?) AS new JOIN job ON job.id = value ->> 'id'
    WHERE job.state NOT IN ('untracked', 'lost')
      AND json_patch(job.labels, value ->> 'labels') <> json(job.labels)
      AND (SELECT count(*) FROM json_each(json_patch(job.labels, new.value ->> 'labels'))) <= ?
    ORDER BY new.key";

pub(super) fn push_entries<'a>(
    script: &mut Script,
    entries: impl Iterator<Item = &'a AuditEntry>,
) -> Result<(), sqlx::Error> {
    script.push_rows(INSERT_ENTRIES, &entries.map(EntryRow::new).collect::<Vec<_>>())
}

/// Records which labels are about to change: `jobs` are new labels for jobs that exist.
pub(super) fn push_label_changes(
    script: &mut Script,
    jobs: &[(JobId, &NewJob)],
) -> Result<(), sqlx::Error> {
    if jobs.is_empty() {
        return Ok(());
    }
    let rows = to_json(jobs.iter().map(|(id, job)| LabelChangeRow::new(*id, job)))?;
    let max_labels = i64::try_from(Labels::MAX_COUNT).unwrap_or(i64::MAX);
    script.push(INSERT_LABEL_CHANGES).bind(rows)?.bind(max_labels).map(drop)
}

#[derive(Serialize)]
struct LabelChangeRow<'a> {
    id: JobId,
    requested_at: SqlTime,
    uid: Option<u32>,
    user_name: Option<&'a str>,
    labels: &'a Labels,
}

impl<'a> LabelChangeRow<'a> {
    fn new(id: JobId, job: &'a NewJob) -> Self {
        let added_by = job.added_by.as_ref();
        Self {
            id,
            requested_at: SqlTime(job.registered_at),
            uid: added_by.map(|added_by| added_by.uid),
            user_name: added_by.and_then(|added_by| added_by.user.as_deref()),
            labels: &job.labels,
        }
    }
}

/// Deletes up to `limit` rows that are older than any finished job may be; none if finished jobs of some
/// state are kept forever. Returns their number.
pub(super) async fn prune_audit(
    connection: &mut SqliteConnection,
    retention: &[(State, Duration)],
    now: UtcTime,
    clock_set: Option<UtcTime>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let terminal_states = State::ALL.into_iter().filter(|state| state.is_terminal());
    let max_ages = terminal_states.map(|state| {
        let of_state = retention.iter().find(|(candidate, _)| *candidate == state);
        of_state.map(|(_, max_age)| *max_age)
    });
    let Some(max_age) =
        max_ages.collect::<Option<Vec<_>>>().and_then(|ages| ages.into_iter().max())
    else {
        return Ok(0);
    };
    let before = now.minus(max_age);
    if clock_set.is_some_and(|set| set >= before) {
        return Ok(0);
    }
    let deletion = sqlx::query(
        "DELETE FROM audit_event WHERE id IN (
             SELECT id FROM audit_event WHERE requested_at < ?1 ORDER BY requested_at LIMIT ?2)",
    );
    let deletion = deletion.bind(to_sql(before)).bind(limit);
    Ok(deletion.execute(connection).await?.rows_affected())
}

#[derive(Serialize)]
struct EntryRow<'a> {
    requested_at: SqlTime,
    origin: &'static str,
    uid: Option<u32>,
    user_name: Option<&'a str>,
    pid: Option<i32>,
    command: &'static str,
    provider: Option<&'a ProviderName>,
    job_id: Option<JobId>,
    remote_id: Option<&'a RemoteId>,
    outcome: &'static str,
    detail: Option<&'a str>,
    count: u32,
}

impl<'a> EntryRow<'a> {
    fn new(entry: &'a AuditEntry) -> Self {
        let (origin, uid, user_name, pid) = match &entry.requester {
            Requester::Client { uid, user, pid } => ("socket", *uid, user.as_deref(), *pid),
            Requester::Signal => ("signal", None, None, None),
        };
        let (provider, job) = match &entry.target {
            AuditTarget::Daemon => (None, None),
            AuditTarget::Provider(provider) => (Some(provider), None),
            AuditTarget::Job { id, provider, remote_id } => {
                (Some(provider), Some((*id, remote_id)))
            }
        };
        Self {
            requested_at: SqlTime(entry.requested_at),
            origin,
            uid,
            user_name,
            pid,
            command: entry.command.as_str(),
            provider,
            job_id: job.map(|(id, _)| id),
            remote_id: job.map(|(_, remote_id)| remote_id),
            outcome: entry.outcome.as_str(),
            detail: entry.detail.as_deref(),
            count: entry.count.get(),
        }
    }
}
