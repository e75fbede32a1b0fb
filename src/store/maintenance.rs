//! Housekeeping of the database: what the maintenance room orders and the writer does between its
//! batches; and the milestones that tell when something was last done.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::job::{State, UtcTime};

/// One piece of housekeeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaintenanceTask {
    /// Remove jobs, with their history, that ended in such a state so long ago.
    Prune(Vec<(State, Duration)>),
    /// Let SQLite look at its statistics.
    Optimize,
    /// Give free pages back to the file system.
    Vacuum,
    /// Bring the WAL into the database, as far as no reader is in the way.
    Checkpoint,
}

impl MaintenanceTask {
    /// Jobs that go in one transaction; others are written between two of them.
    const PRUNE_BATCH_SIZE: i64 = 500;

    /// The name of its milestone.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prune(_) => "prune",
            Self::Optimize => "optimize",
            Self::Vacuum => "vacuum",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// The part that belongs into a transaction; whether more of it is left for the next one.
    pub(super) async fn run_in_transaction(
        &self,
        connection: &mut SqliteConnection,
        now: UtcTime,
    ) -> Result<bool, sqlx::Error> {
        let pruned = match self {
            Self::Prune(retention) => prune(connection, retention, now).await?,
            Self::Optimize | Self::Vacuum | Self::Checkpoint => 0,
        };
        if pruned > 0 {
            tracing::info!("{pruned} old jobs go with their history");
        }
        record_event_time(connection, self.name(), now).await?;
        Ok(pruned >= Self::PRUNE_BATCH_SIZE.unsigned_abs())
    }

    /// The part that SQLite does outside a transaction.
    pub(super) async fn run_after_commit(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let pragma = match self {
            Self::Prune(_) => return Ok(()),
            Self::Optimize => "PRAGMA optimize",
            Self::Vacuum => "PRAGMA incremental_vacuum(10000)",
            Self::Checkpoint => "PRAGMA wal_checkpoint(PASSIVE)",
        };
        sqlx::query(pragma).execute(connection).await.map(drop)
    }
}

async fn prune(
    connection: &mut SqliteConnection,
    retention: &[(State, Duration)],
    now: UtcTime,
) -> Result<u64, sqlx::Error> {
    let limits = retention.iter().map(
        |(state, limit)| json!({"state": state.as_str(), "before": now.minus(*limit).to_sql()}),
    );
    let deletion = sqlx::query(
        "WITH keep AS (SELECT value ->> 'state' AS state, value ->> 'before' AS before FROM json_each(?1))
         DELETE FROM job WHERE id IN (
             SELECT job.id FROM job JOIN keep USING (state)
             WHERE job.terminal_at < keep.before
               AND job.terminal_at < (SELECT max(before) FROM keep)
             ORDER BY job.terminal_at LIMIT ?2)",
    );
    let deletion = deletion
        .bind(limits.collect::<Value>().to_string())
        .bind(MaintenanceTask::PRUNE_BATCH_SIZE);
    Ok(deletion.execute(connection).await?.rows_affected())
}

/// Notes that something was done.
pub(super) async fn record_event_time(
    connection: &mut SqliteConnection,
    name: &str,
    now: UtcTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO milestone (name, at) VALUES (?1, ?2)")
        .bind(name)
        .bind(now)
        .execute(connection)
        .await
        .map(drop)
}

/// Each batch leaves a sign of life.
pub(super) const HEARTBEAT: &str = "alive";
/// The last thing that is written before an ordered end.
pub(super) const CLEAN_SHUTDOWN: &str = "stopped";

/// From the last sign of life to `now` nobody was asked: an outage of our own.
pub(super) async fn record_downtime(
    connection: &mut SqliteConnection,
    now: UtcTime,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT INTO provider_event (kind, began_at, ended_at, reason)
         SELECT 'outage', max(alive.at, coalesce(stopped.at, alive.at)),
                max(alive.at, coalesce(stopped.at, alive.at), ?1),
                iif(stopped.at >= alive.at, 'jobtrackd was stopped', 'jobtrackd ended without a word')
         FROM milestone AS alive LEFT JOIN milestone AS stopped ON stopped.name = ?3
         WHERE alive.name = ?2",
    )
    .bind(now)
    .bind(HEARTBEAT)
    .bind(CLEAN_SHUTDOWN)
    .execute(&mut *transaction)
    .await?;
    record_event_time(&mut transaction, HEARTBEAT, now).await?;
    transaction.commit().await
}
