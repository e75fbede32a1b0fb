//! Calls to SQLite that sqlx does not offer: the only unsafe code of the program. Used when the
//! database is opened and after a failed write.

use std::ffi::c_int;
use std::io;

use rustix::io::Errno;
use sqlx::sqlite::SqliteConnection;

/// SQLite before this version can lose a commit that coincides with a checkpoint. The constant is that
/// of the bundled library, so an older one is an error of the build.
const _: () = assert!(libsqlite3_sys::SQLITE_VERSION_NUMBER >= 3_051_003);

/// The name and version of the database engine, for people.
#[must_use]
pub fn engine_description() -> String {
    format!("SQLite {}", libsqlite3_sys::SQLITE_VERSION.to_string_lossy())
}

/// Makes SQLite keep the WAL file when the last connection closes, and not checkpoint it. A user without
/// write permission cannot open a database in WAL mode whose WAL file is missing; and if a file was
/// replaced, a checkpoint would destroy what replaced it.
#[expect(unsafe_code, reason = "sqlx does not offer file controls")]
pub(super) async fn keep_wal_on_close(
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let database = handle.as_raw_handle().as_ptr();
    let mut on: c_int = 1;
    // SAFETY: the handle is locked and open; "main" is a C string; SQLITE_FCNTL_PERSIST_WAL takes a
    // pointer to an int, which lives until the call returns. SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE takes
    // an int and a pointer to an int, which may be null.
    let codes = unsafe {
        [
            libsqlite3_sys::sqlite3_file_control(
                database,
                c"main".as_ptr(),
                libsqlite3_sys::SQLITE_FCNTL_PERSIST_WAL,
                (&raw mut on).cast(),
            ),
            libsqlite3_sys::sqlite3_db_config(
                database,
                libsqlite3_sys::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
                1 as c_int,
                std::ptr::null_mut::<c_int>(),
            ),
        ]
    };
    if codes == [libsqlite3_sys::SQLITE_OK; 2] {
        Ok(())
    } else {
        Err(sqlx::Error::Io(io::Error::other("SQLite cannot be told to keep the WAL")))
    }
}

/// Whether the last write failed because of missing space. SQLite has a code of its own for `ENOSPC`
/// only; it reports an exceeded quota, an exceeded file size limit and a read-only file system as I/O
/// errors, although these pass as well.
#[expect(unsafe_code, reason = "sqlx does not offer the system's error number")]
pub(super) async fn is_out_of_space(connection: &mut SqliteConnection) -> bool {
    let Ok(mut handle) = connection.lock_handle().await else { return false };
    // SAFETY: the handle is locked and open; the function only reads a number from it.
    let errno = unsafe { libsqlite3_sys::sqlite3_system_errno(handle.as_raw_handle().as_ptr()) };
    // Compared as numbers: no error is 0, which is no `Errno`.
    [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS]
        .iter()
        .any(|out_of_space| out_of_space.raw_os_error() == errno)
}
