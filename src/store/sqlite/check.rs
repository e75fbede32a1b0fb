//! Whether a database can be opened, asked by `jobtrackd --check`.
//!
//! Makes the checks of [`Store::open_on`](super::Store::open_on) in the same order and with the same
//! functions, and changes nothing. Never called by a process that has the database open: it opens and
//! closes the file, which would release SQLite's locks.

use std::fs;
use std::io;
use std::path::Path;

use crate::config::check_directory_writable;
use crate::store::{FileSystemPolicy, OpenError};

use super::database_path::DatabasePath;
use super::file_system;
use super::lock;
use super::schema::SCHEMA_VERSION;
use super::start_checks::{DamageCheck, check_file};

/// A database that can be opened.
#[derive(Debug, PartialEq, Eq)]
pub struct DatabaseCheck {
    /// The versions of the migrations that a start would apply; all of them if there is no file.
    pub pending_migrations: Vec<i64>,
    /// Whether a daemon has the database open.
    pub is_in_use: bool,
}

/// Checks the database at `path`. A running daemon is no error.
///
/// # Errors
/// The error of a start, except for what only writing shows.
pub async fn check_database(
    path: &Path,
    policy: FileSystemPolicy,
) -> Result<DatabaseCheck, OpenError> {
    let path = DatabasePath::resolve(path)?;
    check_directory(&path)?;
    if path.directory().exists() {
        file_system::check(&path, policy)?;
    }
    let (version, is_in_use) = match fs::metadata(path.file()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0, false),
        Err(error) => return Err(path.io(&error)),
        Ok(metadata) => {
            let is_in_use = lock::check(&path)?;
            let damage_check = DamageCheck::of_start(metadata.len());
            (check_file(&path, damage_check).await?, is_in_use)
        }
    };
    Ok(DatabaseCheck { pending_migrations: (version + 1..=SCHEMA_VERSION).collect(), is_in_use })
}

fn check_directory(path: &DatabasePath) -> Result<(), OpenError> {
    check_directory_writable(path.directory()).map_err(|error| {
        let directory = path.directory().to_owned();
        if directory.exists() {
            OpenError::Io { path: directory, reason: error.to_string() }
        } else {
            OpenError::CreateDirectory { path: directory, kind: error.kind() }
        }
    })
}
