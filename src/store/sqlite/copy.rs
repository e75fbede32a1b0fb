//! A complete copy of a database as one file, by VACUUM INTO: consistent although others write, and
//! without a write-ahead log.
//!
//! Used for backups and for restoring them.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::fs::{self, File};

use super::BUSY_TIMEOUT;

/// Options for reading a database that may be in use.
pub(super) fn read_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("temp_store", "memory")
}

/// Copies the database into `target`, which must not exist. The copy is on disk and intact; after an
/// error there is none.
pub(super) async fn copy_database(
    source: SqliteConnectOptions,
    target: &Path,
    mode: u32,
) -> Result<(), sqlx::Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(target)
        .map_err(sqlx::Error::Io)?;
    let copied = async {
        vacuum_into(source, target).await?;
        check_copy(target).await?;
        File::open(target).await?.sync_all().await.map_err(sqlx::Error::Io)
    };
    let result = copied.await;
    if result.is_err() {
        let _ = fs::remove_file(target).await;
    }
    result
}

async fn vacuum_into(source: SqliteConnectOptions, target: &Path) -> Result<(), sqlx::Error> {
    let name = target.to_str().ok_or_else(|| {
        sqlx::Error::Io(io::Error::other(format!("{} is not UTF-8", target.display())))
    })?;
    let mut connection = source.connect().await?;
    sqlx::query("VACUUM INTO ?1").bind(name).execute(&mut connection).await?;
    connection.close().await
}

/// A damaged source can be copied without an error.
async fn check_copy(path: &Path) -> Result<(), sqlx::Error> {
    let mut connection = read_options(path).immutable(true).connect().await?;
    let found: String =
        sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await?;
    connection.close().await?;
    if found == "ok" {
        Ok(())
    } else {
        Err(sqlx::Error::Io(io::Error::other(format!("the copy is damaged: {found}"))))
    }
}
