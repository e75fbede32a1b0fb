//! Statements that take their rows as one JSON array, which `json_each` unpacks: several times faster
//! than a statement for each row.

use serde::{Serialize, Serializer};
use serde_json::Value;
use sqlx::sqlite::SqliteConnection;

/// The rows as a JSON array.
pub(super) fn to_json(rows: impl Iterator<Item: Serialize>) -> Result<String, sqlx::Error> {
    let mut json = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut json);
    serializer.collect_seq(rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    String::from_utf8(json).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Executes a statement whose only parameter is a JSON array of rows; does nothing without rows.
pub(super) async fn insert_rows(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: Vec<Value>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(statement).bind(Value::Array(rows).to_string()).execute(connection).await.map(drop)
}
