//! The names of temporary files beside the database, and their removal after a process was killed.
//!
//! Used by the snapshot and by the restore. Invariant: a name says that the file is jobtrack's own, so
//! that no file of another program is ever removed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::database_path::DatabasePath;

/// What a temporary file is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Snapshot,
    Restore,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Snapshot, Self::Restore];

    fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Restore => "restoring",
        }
    }
}

/// A path beside the database that this process has not used before: `.NAME.PURPOSE-PID-NUMBER`.
pub(super) fn temporary_path(database: &DatabasePath, purpose: Purpose) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut name = prefix(database, purpose);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    name.extend(format!("{}-{number}", std::process::id()).as_bytes());
    database.directory().join(OsString::from_vec(name))
}

/// Removes what a killed process left. To be called while the database is locked: nobody else makes such
/// files then. What cannot be removed is logged and stays.
pub(super) fn remove_leftovers(database: &DatabasePath) {
    let prefixes = Purpose::ALL.map(|purpose| prefix(database, purpose));
    for entry in fs::read_dir(database.directory()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let numbers = prefixes.iter().find_map(|prefix| name.as_bytes().strip_prefix(&prefix[..]));
        let is_file = entry.file_type().is_ok_and(|found| found.is_file());
        if !is_file || !numbers.is_some_and(is_pid_and_number) {
            continue;
        }
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(
                "cannot remove {}, which a killed process left: {error}",
                entry.path().display()
            );
        }
    }
}

fn prefix(database: &DatabasePath, purpose: Purpose) -> Vec<u8> {
    let name = database.file().file_name().unwrap_or_default();
    [b".", name.as_bytes(), b".", purpose.as_str().as_bytes(), b"-"].concat()
}

fn is_pid_and_number(text: &[u8]) -> bool {
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let parts: Vec<_> = text.split(|byte| *byte == b'-').collect();
    parts.len() == 2 && parts.into_iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_with_names_of_jobtrack_are_leftovers() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = DatabasePath::resolve(&directory.path().join("a.db")).expect("a path");
        for purpose in Purpose::ALL {
            let path = temporary_path(&database, purpose);
            assert_ne!(path, temporary_path(&database, purpose));
            fs::write(path, "").expect("a file");
        }
        let others = [
            "a.db",
            "a.db.backup",
            "a.db.restoring",
            ".a.db.snapshot",
            ".a.db.snapshot-1",
            ".a.db.snapshot-1-old",
            ".a.db.snapshot-1-2-3",
            ".b.db.snapshot-1-2",
            ".a.db.snapshot--1",
        ];
        for name in others {
            fs::write(directory.path().join(name), "").expect("a file");
        }
        fs::create_dir(directory.path().join(".a.db.snapshot-3-4")).expect("a directory");
        remove_leftovers(&database);
        let left = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(left, others.len() + 1);
        assert!(others.iter().all(|name| directory.path().join(name).exists()));
    }
}
