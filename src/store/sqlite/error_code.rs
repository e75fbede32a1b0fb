//! What SQLite's result codes mean for a write, as listed at <https://sqlite.org/rescode.html>.

use crate::store::WriteError;

use super::identity::is_unexpected_change_count;

/// The primary result code of an error that comes from SQLite.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

pub(super) fn classify(error: &sqlx::Error) -> WriteError {
    if matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) {
        // A row of the database that cannot be read, for example after an edit by hand.
        return WriteError::Rejected(error.to_string());
    }
    if is_unexpected_change_count(error) {
        let reason = "a job could not be updated, because a trigger that another program added to the \
            database prevents it or changes jobs itself; drop the trigger that is not one of jobtrackd, of \
            those that `SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'` lists";
        return WriteError::Rejected(reason.to_owned());
    }
    match primary_code(error) {
        // BUSY, LOCKED.
        Some(5 | 6) => WriteError::Busy,
        // READONLY, FULL.
        Some(8 | 13) => WriteError::NoSpace(error.to_string()),
        // CORRUPT, NOTADB.
        Some(11 | 26) => WriteError::Corrupt(error.to_string()),
        // TOOBIG, CONSTRAINT, MISMATCH.
        Some(18..=20) => WriteError::Rejected(error.to_string()),
        Some(_) | None => WriteError::Io(error.to_string()),
    }
}
