//! Watches the identity in the database file that is open, to notice that the file was overwritten by
//! another database or by an older copy.
//!
//! Used by `open_files` before each write and after each commit. Invariant: a file that cannot be read is
//! never taken for an overwritten one; it is examined again before the next write.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::error_code::primary_code;
use super::identity::{FileIdentity, Identity, PageLocation, read_file_identity};
use super::wal_header::{is_checkpoint_incomplete, uses_wal};

/// What the database file said of itself when it was last read.
#[derive(Debug)]
pub(super) struct IdentityInFile {
    /// `None` if it is in the write-ahead log alone.
    identity: Option<Identity>,
    /// Whether the file has changed since, and could not be read.
    is_outdated: bool,
    location: PageLocation,
    /// What the file had at `location`.
    page: Vec<u8>,
}

/// Where the identity is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilesOfIdentity<'a> {
    pub(super) path: &'a Path,
    /// The file that is open, as the next one.
    pub(super) database: &'a File,
    pub(super) shared_memory: &'a File,
}

/// What a changed file says about the database in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChangedIdentity {
    Same,
    Other,
    /// The file cannot be opened a second time.
    NotReadable,
}

impl Default for IdentityInFile {
    /// Nothing was read yet: no file has a page like this.
    fn default() -> Self {
        Self {
            identity: None,
            is_outdated: false,
            location: PageLocation { offset: 0, size: 0 },
            page: vec![0],
        }
    }
}

impl IdentityInFile {
    /// A checkpoint or a transaction of another program can be seen half done.
    const READ_ATTEMPTS: u32 = 4;
    const READ_DELAY: Duration = Duration::from_millis(25);

    /// Whether the file still has the database whose identity is `current`, as far as it can be read.
    pub(super) async fn is_still_of(
        &mut self,
        current: &Identity,
        files: FilesOfIdentity<'_>,
    ) -> io::Result<bool> {
        if self.location.read(files.database)? == self.page {
            return Ok(true);
        }
        let changed = self.read_changed(current, files).await?;
        match changed {
            ChangedIdentity::Same => self.is_outdated = false,
            ChangedIdentity::NotReadable => self.is_outdated = true,
            ChangedIdentity::Other => {}
        }
        Ok(changed != ChangedIdentity::Other)
    }

    /// Whether the file has changed since it was last read, and could not be read.
    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated
    }

    /// `None` if it is in the write-ahead log alone.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Reads the identity from the file, which a checkpoint or another program has changed.
    async fn read_changed(
        &mut self,
        current: &Identity,
        files: FilesOfIdentity<'_>,
    ) -> io::Result<ChangedIdentity> {
        let mut result = ChangedIdentity::Other;
        for attempt in 0..Self::READ_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Self::READ_DELAY).await;
            }
            let (found, page) = match read_identity_and_page(files).await {
                Ok(Some(read)) => read,
                Ok(None) => {
                    result = ChangedIdentity::NotReadable;
                    continue;
                }
                Err(error) => {
                    let is_unreadable =
                        !is_about_content(&error) || is_checkpoint_incomplete(files.shared_memory)?;
                    result = if is_unreadable { ChangedIdentity::NotReadable } else { result };
                    continue;
                }
            };
            let is_same = match (&self.identity, &found.identity) {
                (Some(before), Some(now)) => before.can_become(now),
                (None, Some(now)) => now.uuid == current.uuid,
                // Nothing of the log has been moved to the file yet.
                (None, None) => true,
                (Some(_), None) => false,
            };
            // A copy that VACUUM INTO made has its pages in another order.
            if is_same && uses_wal(files.database)? == Some(true) {
                self.page = page;
                self.location = found.location;
                self.identity = found.identity;
                return Ok(ChangedIdentity::Same);
            }
            result = ChangedIdentity::Other;
        }
        Ok(result)
    }
}

/// The identity in the file and the page that has it; `None` if a checkpoint came in between.
async fn read_identity_and_page(
    files: FilesOfIdentity<'_>,
) -> Result<Option<(FileIdentity, Vec<u8>)>, sqlx::Error> {
    let found = read_file_identity(files.path).await?;
    let page = found.location.read(files.database)?;
    let again = read_file_identity(files.path).await?;
    Ok((found == again).then_some((found, page)))
}

/// Whether this error of reading the file says that its content is another one. Any other code, and an
/// error that is not SQLite's, says that it could not be read: no file descriptor or memory is left, the
/// disk fails, or another program has a lock.
fn is_about_content(error: &sqlx::Error) -> bool {
    // ERROR, for example a table that is missing; CORRUPT, NOTADB; a value of another type.
    matches!(primary_code(error), Some(1 | 11 | 26))
        || matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn only_an_error_about_the_content_says_that_a_file_was_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = directory.path().join("text");
        fs::write(&text, "no database, but a text that is long enough for a header")
            .expect("a file");
        let missing = directory.path().join("missing");
        // A directory can be opened, and reading it is an I/O error.
        for (path, expected) in
            [(text.as_path(), true), (missing.as_path(), false), (directory.path(), false)]
        {
            let error = read_file_identity(path).await.expect_err("no database");
            assert_eq!(is_about_content(&error), expected, "{}: {error}", path.display());
        }
    }
}
