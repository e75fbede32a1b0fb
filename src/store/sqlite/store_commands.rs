//! Carries out the commands of a batch that concern the database alone. Called by `write`, inside its transaction.
//!
//! Invariant: a command and its audit entry are committed together.

use sqlx::sqlite::SqliteConnection;

use crate::job::{AuditEntry, AuditOutcome, counted};
use crate::store::{Batch, CommitReport, ForgetDurations, SetPinned, StoreCommand};

use super::durations::delete_samples;

/// Carries out the commands in order; returns what is to be recorded of them.
pub(super) async fn execute_commands(
    connection: &mut SqliteConnection,
    batch: &Batch,
    report: &mut CommitReport,
) -> Result<Vec<AuditEntry>, sqlx::Error> {
    let mut audit = Vec::new();
    for command in &batch.commands {
        let (rows, outcome, detail) = match command {
            StoreCommand::ForgetDurations(forget) => {
                let rows = delete_samples(&mut *connection, forget).await?;
                (rows, AuditOutcome::Done, forgotten_detail(forget, rows))
            }
            StoreCommand::SetPinned(set) => {
                let rows = set_pinned(&mut *connection, set).await?;
                let outcome = if rows > 0 { AuditOutcome::Done } else { AuditOutcome::Unchanged };
                (rows, outcome, String::new())
            }
        };
        let entry = command.audit().cloned();
        audit.extend(entry.map(|entry| entry.with_result(outcome, &detail)));
        report.command_results.push(rows);
    }
    Ok(audit)
}

fn forgotten_detail(request: &ForgetDurations, count: u64) -> String {
    let durations = counted(count, "duration");
    match &request.similarity_key {
        Some(key) => format!("{durations} of {key:?}"),
        None => durations,
    }
}

/// Returns 0 if the job was so already, or is not there.
async fn set_pinned(
    connection: &mut SqliteConnection,
    set: &SetPinned,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query("UPDATE job SET pinned = ?2 WHERE id = ?1 AND pinned <> ?2");
    Ok(query.bind(set.job.0).bind(set.pinned).execute(connection).await?.rows_affected())
}
