//! Event cursors: the cursor of a transition is its `seq`, which other modules must not rely on.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteConnection;

use crate::job::EventCursor;

/// The cursor of the transition with this `seq`.
pub(super) fn to_cursor(seq: i64) -> Result<EventCursor, BoxDynError> {
    Ok(seq.to_string().parse()?)
}

/// The `seq` that a cursor names; `None` if no store made the cursor.
pub(super) fn cursor_seq(cursor: &EventCursor) -> Option<i64> {
    cursor.to_string().parse().ok().filter(|seq| *seq >= 0)
}

/// The `seq` of the newest transition; 0 if there is none. It is not max(seq) alone: pruning deletes
/// transitions, and cursors must never go back.
pub(super) const SELECT_NEWEST_SEQ: &str = "
    SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'transition'), 0),
               coalesce((SELECT max(seq) FROM transition), 0))";

/// The result of [`SELECT_NEWEST_SEQ`].
pub(super) async fn newest_seq(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(SELECT_NEWEST_SEQ).fetch_one(connection).await
}
