//! Which jobs the maintenance deletes: those that ended longer ago than their state is kept and are not pinned.
//!
//! `maintenance` deletes them, the reader counts them. Invariant: both select the same jobs.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use crate::job::{State, UtcTime};

use super::rows::PrunableRow;
use super::time::to_sql;

/// The rest of a statement that begins with SELECT or DELETE and can use `retention` and, in `FROM`, `job`.
///
/// The second condition on `terminal_at` is implied by the first; it lets SQLite use the index. The sign keeps it from
/// using that of the states, whose rows it would have to sort.
macro_rules! prunable_jobs {
    () => {
        " FROM job JOIN retention ON retention.state = +job.state
          WHERE job.terminal_at < retention.before AND NOT job.pinned
            AND job.terminal_at < (SELECT max(before) FROM retention) "
    };
}

/// The parameter is [`limits`].
macro_rules! with_retention {
    () => {
        "WITH retention AS (SELECT value ->> 'state' AS state, value ->> 'before' AS before FROM json_each(?1)) "
    };
}

/// For each state the time before which a job must have ended, as JSON. What ended before the clock was set may look
/// older than it is.
fn limits(retention: &[(State, Duration)], now: UtcTime, clock_set: Option<UtcTime>) -> String {
    let limits = retention.iter().map(|(state, limit)| (state, now.minus(*limit)));
    let limits = limits
        .filter(|(_, before)| clock_set.is_none_or(|set| set < *before))
        .map(|(state, before)| json!({"state": state.as_str(), "before": to_sql(before)}));
    limits.collect::<Value>().to_string()
}

/// Deletes up to `max_jobs` jobs, the oldest first, with their history; returns their number.
pub(super) async fn prune_jobs(
    connection: &mut SqliteConnection,
    retention: &[(State, Duration)],
    now: UtcTime,
    clock_set: Option<UtcTime>,
    max_jobs: i64,
) -> Result<u64, sqlx::Error> {
    let deletion = sqlx::query(concat!(
        with_retention!(),
        "DELETE FROM job WHERE id IN (SELECT job.id",
        prunable_jobs!(),
        "ORDER BY job.terminal_at LIMIT ?2)"
    ));
    let deletion = deletion.bind(limits(retention, now, clock_set)).bind(max_jobs);
    Ok(deletion.execute(connection).await?.rows_affected())
}

/// The jobs that would be deleted at `now`, counted by state.
pub(super) async fn count_prunable_jobs(
    pool: &SqlitePool,
    retention: &[(State, Duration)],
    now: UtcTime,
    clock_set: Option<UtcTime>,
) -> Result<Vec<PrunableRow>, sqlx::Error> {
    let query = sqlx::query_as(concat!(
        with_retention!(),
        "SELECT job.state AS state, count(*) AS jobs, min(job.terminal_at) AS oldest_terminal_at,
                max(job.terminal_at) AS newest_terminal_at",
        prunable_jobs!(),
        "GROUP BY job.state ORDER BY job.state"
    ));
    query.bind(limits(retention, now, clock_set)).fetch_all(pool).await
}
