//! Statements that take their rows as one JSON array, which `json_each` unpacks: several times faster
//! than a statement for each row.

use serde_json::Value;
use sqlx::sqlite::SqliteConnection;

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
