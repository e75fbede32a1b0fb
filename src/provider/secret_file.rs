//! Reads the file of a secret, with a limit for time and size.
//!
//! Called by [`secret`](super::secret). A named pipe, such as that of a process substitution, is read if its
//! writer delivers within the limit; a directory, a device or a socket is an error. The read of a regular file can
//! block on a file system that hangs: callers that must go on read in a thread of their own.

use std::collections::BTreeSet;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use secrecy::SecretString;

/// No secret is longer; tokens have a few thousand bytes.
const MAX_BYTES: usize = 64 << 10;
/// A pipe is waited for this many times [`WAIT`], that is 2 seconds.
const MAX_WAITS: u32 = 40;
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Reads the whole file.
///
/// # Errors
/// With a text that follows the path in a message.
pub(super) fn read(path: &Path) -> io::Result<SecretString> {
    // Opening a device can have effects, so the type is checked before, and again for the file that was opened.
    check_type(std::fs::metadata(path)?.file_type())?;
    let nonblocking = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        OpenOptions::new().read(true).custom_flags(nonblocking.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    check_type(metadata.file_type())?;
    warn_if_world_readable(path, &metadata);
    let bytes = read_to_end(file, metadata.file_type().is_fifo())?;
    String::from_utf8(bytes)
        .map(SecretString::from)
        .map_err(|_| io::Error::other("is not UTF-8 text"))
}

fn check_type(found: FileType) -> io::Result<()> {
    let what = if found.is_file() || found.is_fifo() {
        return Ok(());
    } else if found.is_dir() {
        "a directory"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("is not a regular file but {what}")))
}

fn read_to_end(mut file: File, is_pipe: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; MAX_BYTES + 1];
    let mut waits = 0;
    loop {
        if is_pipe {
            // Without a writer, a read would report the end at once.
            while !is_readable(&file)? {
                waits += 1;
                if waits >= MAX_WAITS {
                    let what = "is a pipe whose writer has not delivered the secret within 2 s";
                    return Err(io::Error::new(ErrorKind::TimedOut, what));
                }
            }
            // A writer that delivers byte by byte is not waited for either.
            waits += 1;
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > MAX_BYTES {
            return Err(io::Error::other("is longer than 64 KiB"));
        }
    }
}

/// Waits for content or for the end of a pipe.
fn is_readable(file: &File) -> io::Result<bool> {
    let mut descriptors = [PollFd::new(file, PollFlags::IN)];
    match poll(&mut descriptors, Some(&WAIT)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Container runtimes mount secrets below `/run/secrets` and let all users of the container read them;
/// elsewhere such a mode is a mistake.
fn warn_if_world_readable(path: &Path, metadata: &Metadata) {
    const OTHERS_READ_BIT: u32 = 0o004;
    /// The files of which the log has told: a file is read every few seconds while its secret is rejected.
    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    let world_readable = metadata.is_file() && metadata.permissions().mode() & OTHERS_READ_BIT != 0;
    if !world_readable || path.starts_with("/run/secrets") {
        warned.remove(path);
    } else if warned.insert(path.to_owned()) {
        tracing::warn!(
            "secret file {} is readable by all users; run: chmod o= {0}",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use secrecy::ExposeSecret;

    use super::*;

    fn error(path: &Path) -> String {
        read(path).expect_err("an error").to_string()
    }

    #[test]
    fn fault_63_only_files_and_pipes_that_deliver_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "abc\n").expect("a file");
        assert_eq!(read(&path("file")).expect("a secret").expose_secret(), "abc\n");
        std::fs::write(path("long"), "x".repeat(MAX_BYTES)).expect("a file");
        assert_eq!(read(&path("long")).expect("a secret").expose_secret().len(), MAX_BYTES);
        std::fs::write(path("longer"), "x".repeat(MAX_BYTES + 1)).expect("a file");
        assert!(error(&path("longer")).contains("longer than 64 KiB"));
        std::fs::write(path("latin-1"), b"caf\xe9").expect("a file");
        assert!(error(&path("latin-1")).contains("not UTF-8"));
        assert!(error(dir.path()).contains("not a regular file but a directory"));
        assert!(error(Path::new("/dev/zero")).contains("not a regular file but a device"));
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        assert!(error(&path("socket")).contains("not a regular file but a socket"));
        assert!(error(&path("none")).contains("No such file"));
    }

    #[test]
    fn fault_63_a_pipe_is_read_if_its_writer_delivers_in_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        assert!(error(&path).contains("has not delivered"));
        let mut silent_writer =
            OpenOptions::new().read(true).write(true).open(&path).expect("a writer");
        assert!(error(&path).contains("has not delivered"));
        io::Write::write_all(&mut silent_writer, b"half").expect("a part");
        assert!(error(&path).contains("has not delivered"), "without an end");
        drop(silent_writer);
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&path, "abc").expect("a reader"));
            assert_eq!(read(&path).expect("a secret").expose_secret(), "abc");
        });
    }
}
