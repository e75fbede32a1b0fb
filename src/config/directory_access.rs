//! Whether files can be created in a directory, without creating one.
//!
//! Used by the checks of the database and of the control socket.

use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Checks that the directory can be written, or that it can be created.
///
/// # Errors
/// Why not, as the kernel would report it.
pub fn check_directory_writable(directory: &Path) -> io::Result<()> {
    for existing in directory.ancestors() {
        match std::fs::metadata(existing) {
            Ok(found) if found.is_dir() => {
                let access = Access::WRITE_OK | Access::EXEC_OK;
                return Ok(accessat(CWD, existing, access, AtFlags::EACCESS)?);
            }
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
