//! The states of the rate limiters, which a clean shutdown leaves to the next start.
//!
//! A start takes the states over before any request is sent. Invariant: states are read only by the first start after the
//! shutdown that wrote them, because the process that it begins sends requests that they do not contain. A file that was
//! copied while no daemon ran breaks it, unless `jobtrackd restore` puts the file back.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use crate::policy::{RateLimiterState, RateLimiterStates};

/// Replaces the stored states, as part of a transaction.
pub(super) async fn save(
    connection: &mut SqliteConnection,
    states: &RateLimiterStates,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM rate_limiter_state").execute(&mut *connection).await?;
    for (providers, state) in states {
        let completed: Vec<_> = state.completed.iter().map(Duration::as_millis).collect();
        let insert = "INSERT INTO rate_limiter_state (providers, next_slot_ms, completed_ms) VALUES (?1, ?2, ?3)";
        sqlx::query(insert)
            .bind(providers)
            .bind(i64::try_from(state.next_slot.as_millis()).unwrap_or(i64::MAX))
            .bind(serde_json::json!(completed).to_string())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Deletes the states in a copy of a database, which may be of an earlier version: of the requests that were sent after
/// the copy was made nothing is known.
pub(super) async fn discard(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'rate_limiter_state'";
    if sqlx::query(table).fetch_optional(&mut *connection).await?.is_some() {
        sqlx::query("DELETE FROM rate_limiter_state").execute(connection).await?;
    }
    Ok(())
}

/// Leaves the states that the process which now starts may read, as part of the transaction that records the
/// start.
pub(super) async fn take_over(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM rate_limiter_state WHERE taken_over")
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE rate_limiter_state SET taken_over = 1").execute(connection).await.map(drop)
}

/// The states that this process has taken over.
pub(super) async fn read(
    executor: impl SqliteExecutor<'_>,
) -> Result<RateLimiterStates, sqlx::Error> {
    let query =
        "SELECT providers, next_slot_ms, completed_ms FROM rate_limiter_state WHERE taken_over";
    let rows: Vec<(String, i64, String)> = sqlx::query_as(query).fetch_all(executor).await?;
    rows.into_iter()
        .map(|(providers, next_slot, completed)| {
            let completed: Vec<u64> = serde_json::from_str(&completed)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let state = RateLimiterState {
                next_slot: Duration::from_millis(next_slot.unsigned_abs()),
                completed: completed.into_iter().map(Duration::from_millis).collect(),
            };
            Ok((providers, state))
        })
        .collect()
}
