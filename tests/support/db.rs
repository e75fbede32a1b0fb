//! The database as an operator sees it: through `sqlite3 -readonly` in another process.

use std::path::Path;
use std::process::{Command, Output};

use super::daemon::utf8;

/// The rows of a query, columns parted by `|`.
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

/// The only value of a query.
pub fn query_value(database: &Path, sql: &str) -> String {
    query_rows(database, sql).into_iter().next().unwrap_or_default()
}

/// Runs a script as an operator who may write.
pub fn run_script(database: &Path, script: &str) -> Output {
    let mut command = Command::new("sqlite3");
    // Not as it begins: a comment would be taken for an option.
    command
        .args(["-batch", "-noheader", "-bail", "-cmd", ".timeout 5000"])
        .arg(database)
        .arg(format!("\n{script}"));
    command.output().expect("sqlite3 is installed")
}

/// Runs a script that must succeed.
pub fn run_script_ok(database: &Path, script: &str) {
    let output = run_script(database, script);
    assert!(output.status.success(), "{script}: {}", utf8(&output.stderr));
}

/// What must hold for every history, however it came about; the rows that break it.
pub fn history_violations(database: &Path) -> Vec<String> {
    query_rows(
        database,
        "WITH h AS (SELECT *, lag(to_state) OVER job AS was, lag(observed_at) OVER job AS before,
                           row_number() OVER job AS place
                    FROM transition WINDOW job AS (PARTITION BY job_id ORDER BY seq))
         SELECT 'from does not follow', seq FROM h WHERE from_state IS NOT was
         UNION ALL SELECT 'no registration', seq FROM h WHERE place = 1 AND to_state <> 'registered'
         UNION ALL SELECT 'time runs back', seq FROM h WHERE observed_at < before
         UNION ALL SELECT 'after its end', seq FROM h WHERE was IN
             ('succeeded', 'failed', 'cancelled', 'expired', 'indeterminate', 'lost', 'untracked')
         UNION ALL SELECT 'earliest after observed', seq FROM h WHERE earliest_at > observed_at
         UNION ALL SELECT 'state without its row', id FROM job WHERE state <>
             (SELECT to_state FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1)",
    )
}
