//! Reads and writes the database as an operator does: with `sqlite3` in another process.

use std::path::Path;
use std::process::{Command, Output};

use super::daemon::utf8;

/// The rows of a query; columns are separated by `|`.
pub fn query_rows(database: &Path, sql: &str) -> Vec<String> {
    let output = Command::new("sqlite3")
        .args(["-readonly", "-batch", "-noheader", "-cmd", ".timeout 5000"])
        .arg(database)
        .arg(sql)
        .output()
        .expect("sqlite3 is installed");
    assert!(output.status.success(), "{sql}: {}", utf8(&output.stderr));
    utf8(&output.stdout).lines().map(str::to_owned).collect()
}

/// The first row of a query, or an empty string.
pub fn query_value(database: &Path, sql: &str) -> String {
    query_rows(database, sql).into_iter().next().unwrap_or_default()
}

pub fn run_script(database: &Path, script: &str) -> Output {
    let mut command = Command::new("sqlite3");
    // `sqlite3` would take a script that starts with a comment (`--`) for an option.
    command
        .args(["-batch", "-noheader", "-bail", "-cmd", ".timeout 5000"])
        .arg(database)
        .arg(format!("\n{script}"));
    command.output().expect("sqlite3 is installed")
}

pub fn run_script_ok(database: &Path, script: &str) {
    let output = run_script(database, script);
    assert!(output.status.success(), "{script}: {}", utf8(&output.stderr));
}

/// Checks the invariants of all histories; returns one row for each violation.
pub fn history_violations(database: &Path) -> Vec<String> {
    query_rows(
        database,
        "WITH h AS (SELECT *, lag(to_state) OVER job AS previous_state,
                           lag(observed_at) OVER job AS previous_observed_at,
                           row_number() OVER job AS position
                    FROM transition WINDOW job AS (PARTITION BY job_id ORDER BY seq))
         SELECT 'from_state is not the previous to_state', seq FROM h WHERE from_state IS NOT previous_state
         UNION ALL SELECT 'first state is not registered', seq FROM h WHERE position = 1 AND to_state <> 'registered'
         UNION ALL SELECT 'observed_at decreases', seq FROM h WHERE observed_at < previous_observed_at
         UNION ALL SELECT 'transition after a terminal state', seq FROM h WHERE previous_state IN
             ('succeeded', 'failed', 'cancelled', 'expired', 'indeterminate', 'lost', 'untracked')
         UNION ALL SELECT 'earliest_at is after observed_at', seq FROM h WHERE earliest_at > observed_at
         UNION ALL SELECT 'job.state is not its last to_state', id FROM job WHERE state <>
             (SELECT to_state FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1)",
    )
}

/// The migrations that a start would apply, as `jobtrackd --check` tells them.
pub async fn pending_migrations(database: &Path) -> Result<Vec<i64>, jobtrack::store::OpenError> {
    let policy = jobtrack::store::FileSystemPolicy::default();
    let checked = jobtrack::store::check_database(database, policy).await?;
    Ok(checked.pending_migrations)
}
