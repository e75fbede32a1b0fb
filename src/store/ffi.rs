//! The calls to SQLite that sqlx has none for: the only unsafe code of the project.

use std::io;

use rustix::io::Errno;
use sqlx::sqlite::SqliteConnection;

/// The version of the linked library, for people.
#[must_use]
pub fn sqlite_version() -> String {
    let number = sqlite_version_number();
    format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000)
}

pub(super) fn sqlite_version_number() -> i32 {
    // SAFETY: takes nothing, returns a constant of the library.
    #[allow(unsafe_code, reason = "a plain question to SQLite")]
    unsafe {
        libsqlite3_sys::sqlite3_libversion_number()
    }
}

/// Without it a clean stop removes the WAL, and users who may only read cannot open the database.
#[allow(unsafe_code, reason = "sqlx has no call for a file control")]
pub(super) async fn persist_wal(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let mut on: std::ffi::c_int = 1;
    // SAFETY: the handle is locked and open; "main" is a C string; SQLITE_FCNTL_PERSIST_WAL takes a
    // pointer to an int, which lives until the call returns.
    let code = unsafe {
        libsqlite3_sys::sqlite3_file_control(
            handle.as_raw_handle().as_ptr(),
            c"main".as_ptr(),
            libsqlite3_sys::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut on).cast(),
        )
    };
    if code == libsqlite3_sys::SQLITE_OK {
        Ok(())
    } else {
        Err(sqlx::Error::Io(io::Error::other("SQLITE_FCNTL_PERSIST_WAL failed")))
    }
}

/// Whether the system refused the last write for want of room. SQLite has a code of its own for
/// `ENOSPC` only: a quota, a limit on file sizes and a disk that became read-only are to it the
/// same as a broken one, but they pass.
#[allow(unsafe_code, reason = "sqlx has no call for the system's error")]
pub(super) async fn is_out_of_space(connection: &mut SqliteConnection) -> bool {
    let Ok(mut handle) = connection.lock_handle().await else { return false };
    // SAFETY: the handle is locked and open; the call only reads a number from it.
    let errno = unsafe { libsqlite3_sys::sqlite3_system_errno(handle.as_raw_handle().as_ptr()) };
    let out_of_space = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS];
    out_of_space.contains(&Errno::from_raw_os_error(errno))
}
