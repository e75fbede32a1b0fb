//! Several statements that one call executes: one message to the thread of the connection and back, not one
//! for each statement.
//!
//! Used by `write` for its transaction. The statements take their parameters in order, so each parameter is
//! a plain `?`. The connection caches what it has prepared by the whole text: scripts should be made of few
//! combinations of statements.

use serde::Serialize;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, Type};

use super::json_rows::to_json;

/// Statements with their parameters.
#[derive(Debug, Default)]
pub(super) struct Script {
    sql: String,
    parameters: SqliteArguments,
}

impl Script {
    /// Appends a statement, whose parameters follow.
    pub(super) fn push(&mut self, statement: &'static str) -> &mut Self {
        self.sql.push_str(statement);
        self.sql.push(';');
        self
    }

    /// Appends the next parameter of the last statement.
    pub(super) fn bind<'q, T>(&mut self, value: T) -> Result<&mut Self, sqlx::Error>
    where
        T: Encode<'q, Sqlite> + Type<Sqlite>,
    {
        let added: Result<(), BoxDynError> = self.parameters.add(value);
        added.map_err(sqlx::Error::Encode)?;
        Ok(self)
    }

    /// Appends a statement whose only parameter is a JSON array of rows; nothing without rows.
    pub(super) fn push_rows<T: Serialize>(
        &mut self,
        statement: &'static str,
        rows: &[T],
    ) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        self.push(statement).bind(to_json(rows.iter())?).map(drop)
    }

    /// Executes the statements in order, up to the first that fails.
    pub(super) async fn execute(
        self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(self.sql), self.parameters);
        query.execute(connection).await.map(drop)
    }

    /// As [`Self::execute`], up to the first row, which it returns.
    pub(super) async fn fetch_one(
        self,
        connection: &mut SqliteConnection,
    ) -> Result<SqliteRow, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(self.sql), self.parameters);
        query.fetch_one(connection).await
    }

    /// As [`Self::execute`]; returns the only row of all statements.
    pub(super) async fn execute_for_row(
        self,
        connection: &mut SqliteConnection,
    ) -> Result<SqliteRow, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(self.sql), self.parameters);
        query.fetch_all(connection).await?.pop().ok_or(sqlx::Error::RowNotFound)
    }
}
