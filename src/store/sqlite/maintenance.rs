//! Maintenance of the database, which the writer performs between batches, and the record of when each
//! kind of event last happened (table `last_event`).

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::job::UtcTime;
use crate::policy::RateLimiterStates;
use crate::store::{BatchTimes, MaintenanceTask};

use super::audit::prune_audit;
use super::identity::count_commit;
use super::prune::prune_jobs;
use super::rate_limiter_states;
use super::script::Script;
use super::time::SqlTime;

/// Jobs deleted in one transaction; other batches are written between two of them.
const PRUNE_BATCH_SIZE: i64 = 500;

/// The event of every batch: the daemon was running then.
pub(super) const HEARTBEAT: &str = "heartbeat";
/// The event that records the certain time of a batch, if the batch has one.
pub(super) const CERTAIN_TIME: &str = "certain_time";
/// The event of every batch after the wall clock and a provider agreed: a time that has passed.
pub(super) const CONFIRMED_TIME: &str = "confirmed_time";
/// The event of a batch with rows whose time may be too early.
pub(super) const CLOCK_BEHIND: &str = "clock_behind";
/// The event that follows [`CLOCK_BEHIND`]: what ended before this time may look older than it is.
pub(super) const CLOCK_SET: &str = "clock_set";
/// The event that is recorded last before an orderly end.
pub(super) const CLEAN_SHUTDOWN: &str = "clean_shutdown";

/// The event of a restore: what happened since the last heartbeat is not in this database.
pub(super) const RESTORED: &str = "restored";

const RECORD_EVENTS: &str = "
    INSERT OR REPLACE INTO last_event (name, happened_at)
    SELECT value ->> 0, value ->> 1 FROM json_each(?)";

/// Performs the part of the task that belongs in a transaction; returns whether more is left for
/// the next one. Old jobs are deleted by the time that is certain; without it none are.
pub(super) async fn run_in_transaction(
    task: &MaintenanceTask,
    connection: &mut SqliteConnection,
    times: &BatchTimes,
) -> Result<bool, sqlx::Error> {
    let pruned = match task {
        MaintenanceTask::Prune(retention) => {
            let Some(now) = times.certain_at else { return Ok(false) };
            let clock_set = last_clock_set(connection, now, times.contradicting).await?;
            let audit_rows =
                prune_audit(connection, retention, now, clock_set, PRUNE_BATCH_SIZE).await?;
            let jobs = prune_jobs(connection, retention, now, clock_set, PRUNE_BATCH_SIZE).await?;
            if jobs > 0 {
                tracing::info!("deleted {jobs} old jobs and their history");
            }
            if audit_rows > 0 {
                tracing::info!("deleted {audit_rows} old audit entries");
            }
            jobs.max(audit_rows)
        }
        MaintenanceTask::Optimize | MaintenanceTask::Vacuum | MaintenanceTask::Checkpoint => 0,
    };
    record_event(connection, task.name(), times.written_at).await?;
    Ok(pruned >= PRUNE_BATCH_SIZE.unsigned_abs())
}

/// Performs the part of the task that SQLite does outside a transaction.
pub(super) async fn run_after_commit(
    task: &MaintenanceTask,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let pragma = match task {
        MaintenanceTask::Prune(_) => return Ok(()),
        MaintenanceTask::Optimize => "PRAGMA optimize",
        MaintenanceTask::Vacuum => "PRAGMA incremental_vacuum(10000)",
        MaintenanceTask::Checkpoint => "PRAGMA wal_checkpoint(PASSIVE)",
    };
    sqlx::query(pragma).execute(connection).await.map(drop)
}

/// When the clock was set after it had been behind. What ended before may look older than it is: it is kept
/// as if it had ended then. While a provider's clock contradicts, ours may still be behind.
async fn last_clock_set(
    connection: &mut SqliteConnection,
    now: UtcTime,
    contradicting: Option<UtcTime>,
) -> Result<Option<UtcTime>, sqlx::Error> {
    if contradicting.is_none() {
        sqlx::query("UPDATE OR REPLACE last_event SET name = ?1, happened_at = ?2 WHERE name = ?3")
            .bind(CLOCK_SET)
            .bind(now)
            .bind(CLOCK_BEHIND)
            .execute(&mut *connection)
            .await?;
        // A time that has not come yet was recorded by a clock that was ahead.
        sqlx::query("UPDATE last_event SET happened_at = ?2 WHERE name = ?1 AND happened_at > ?2")
            .bind(CLOCK_SET)
            .bind(now)
            .execute(&mut *connection)
            .await?;
    }
    last_event(connection, CLOCK_SET).await
}

/// Records the present for the next process, and, with `clock_behind`, [`CLOCK_BEHIND`].
pub(super) fn push_times(
    script: &mut Script,
    times: &BatchTimes,
    clock_behind: bool,
) -> Result<(), sqlx::Error> {
    let events = [
        (HEARTBEAT, Some(times.written_at)),
        (CERTAIN_TIME, times.certain_at),
        (CONFIRMED_TIME, times.confirmed_at),
        (CLOCK_BEHIND, clock_behind.then_some(times.written_at)),
    ];
    let events = events.into_iter().filter_map(|(name, at)| Some((name, SqlTime(at?))));
    script.push_rows(RECORD_EVENTS, &events.collect::<Vec<_>>())
}

/// Records the orderly end, which is never before the last heartbeat, and what the rate limiters leave.
pub(super) async fn record_clean_shutdown(
    connection: &mut SqliteConnection,
    rate_limiters: &RateLimiterStates,
    now: UtcTime,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let last = last_event(&mut transaction, HEARTBEAT).await?;
    let ended_at = last.map_or(now, |last| last.max(now));
    record_event(&mut transaction, CLEAN_SHUTDOWN, ended_at).await?;
    rate_limiter_states::save(&mut transaction, rate_limiters).await?;
    transaction.commit().await
}

async fn last_event(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<UtcTime>, sqlx::Error> {
    sqlx::query_scalar("SELECT happened_at FROM last_event WHERE name = ?1")
        .bind(name)
        .fetch_optional(connection)
        .await
}

/// Records that the event `name` happened at `now`.
pub(super) async fn record_event(
    connection: &mut SqliteConnection,
    name: &str,
    now: UtcTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO last_event (name, happened_at) VALUES (?1, ?2)")
        .bind(name)
        .bind(now)
        .execute(connection)
        .await
        .map(drop)
}

/// Records a start: the time between the last heartbeat and `now` is an outage of jobtrackd itself.
pub(super) async fn record_start(
    connection: &mut SqliteConnection,
    now: UtcTime,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let confirmed = last_event(&mut transaction, CONFIRMED_TIME).await?;
    let now = confirmed.map_or(now, |confirmed| confirmed.max(now));
    // The clock may have been set back: an outage never ends before it began.
    sqlx::query(
        "INSERT INTO provider_event (kind, began_at, ended_at, reason)
         SELECT 'outage', max(heartbeat.happened_at, coalesce(shutdown.happened_at, heartbeat.happened_at)),
                max(heartbeat.happened_at, coalesce(shutdown.happened_at, heartbeat.happened_at), ?1),
                CASE WHEN restored.happened_at >= heartbeat.happened_at THEN 'a backup was restored'
                     WHEN shutdown.happened_at >= heartbeat.happened_at THEN 'jobtrackd was stopped'
                     ELSE 'jobtrackd stopped unexpectedly (crash, kill or power loss)' END
         FROM last_event AS heartbeat LEFT JOIN last_event AS shutdown ON shutdown.name = ?3
              LEFT JOIN last_event AS restored ON restored.name = ?4
         WHERE heartbeat.name = ?2",
    )
    .bind(now)
    .bind(HEARTBEAT)
    .bind(CLEAN_SHUTDOWN)
    .bind(RESTORED)
    .execute(&mut *transaction)
    .await?;
    rate_limiter_states::take_over(&mut transaction).await?;
    record_event(&mut transaction, HEARTBEAT, now).await?;
    count_commit(&mut transaction).await?;
    transaction.commit().await
}
