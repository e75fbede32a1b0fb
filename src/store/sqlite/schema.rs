//! The schema: its migrations, its version, and how a database of jobtrackd is told from others.
//!
//! Used when a database is opened, checked or restored. Invariant: the line ends of the checkout that
//! the program was built from do not count. The migrations are applied with `\n`, and a database whose
//! migrations were recorded with `\r\n` is accepted.

use std::collections::BTreeSet;

use sqlx::migrate::{Migration, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, SqlSafeStr};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The version of the schema that this program reads and writes.
pub const SCHEMA_VERSION: i64 = 10;

/// "jtrk" in the header of the file identifies a database of jobtrackd.
pub(super) const APPLICATION_ID: i64 = 0x6A74_726B;

/// A migration that a database records as applied.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct AppliedMigration {
    version: i64,
    checksum: Vec<u8>,
    success: bool,
}

/// The applied migrations, in order; none if the database does not record any.
pub(super) async fn applied_migrations(
    connection: &mut SqliteConnection,
) -> Result<Vec<AppliedMigration>, sqlx::Error> {
    let table =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(table).fetch_one(&mut *connection).await?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
        .fetch_all(connection)
        .await
}

/// Why the applied migrations are not those of this program; `None` if they are.
pub(super) fn migration_mismatch(applied: &[AppliedMigration], version: i64) -> Option<String> {
    if let Some(dirty) = applied.iter().find(|migration| !migration.success) {
        return Some(format!("migration {} was not completed", dirty.version));
    }
    if !applied.iter().map(|migration| migration.version).eq(1..=version) {
        return Some(format!("it does not record migrations 1 to {version} as applied"));
    }
    let known: Vec<_> = migrations(applied).collect();
    let other = applied
        .iter()
        .find(|migration| !known.iter().any(|known| known.checksum == migration.checksum));
    other.map(|migration| {
        format!("its migration {} differs from that of this program", migration.version)
    })
}

/// Applies the migrations that are missing.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::migrate::MigrateError> {
    let applied = applied_migrations(connection).await?;
    let migrator = Migrator::with_migrations(migrations(&applied).collect());
    // Otherwise ALTER TABLE fails if any view of an operator cannot be resolved, be it because of a table that
    // the migration is replacing.
    sqlx::raw_sql("PRAGMA legacy_alter_table = on").execute(&mut *connection).await?;
    let result = migrator.run(&mut *connection).await;
    sqlx::raw_sql("PRAGMA legacy_alter_table = off").execute(connection).await?;
    result
}

/// The migrations with the checksums that the database records, if these differ in line ends only.
fn migrations(applied: &[AppliedMigration]) -> impl Iterator<Item = Migration> {
    MIGRATIONS.iter().map(|built| {
        let text = built.sql.as_str().replace("\r\n", "\n");
        let with_crlf = with_text(built, text.replace('\n', "\r\n"));
        let is_recorded = |known: &Migration| {
            applied.iter().any(|recorded| {
                recorded.version == known.version && recorded.checksum == *known.checksum
            })
        };
        let mut migration = with_text(built, text);
        if is_recorded(&with_crlf) {
            migration.checksum = with_crlf.checksum;
        }
        migration
    })
}

fn with_text(migration: &Migration, text: String) -> Migration {
    Migration::new(
        migration.version,
        migration.description.clone(),
        migration.migration_type,
        AssertSqlSafe(text).into_sql_str(),
        migration.no_tx,
    )
}

/// The columns of all tables, as `table.column`.
pub(super) async fn table_columns(
    connection: &mut SqliteConnection,
) -> Result<BTreeSet<String>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT t.name || '.' || c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c
         WHERE t.type = 'table'",
    )
    .fetch_all(connection)
    .await?;
    Ok(names.into_iter().collect())
}

/// A database in memory with the schema of this version.
pub(super) async fn database_with_schema(version: i64) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new().in_memory(true).pragma("temp_store", "memory");
    let mut connection = options.connect().await?;
    let migrator = Migrator::with_migrations(migrations(&[]).collect());
    migrator.run_to(version, &mut connection).await?;
    Ok(connection)
}
