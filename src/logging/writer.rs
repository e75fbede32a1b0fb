//! Writes queued log lines to stderr or to the journal.
//!
//! Called by the thread of `tracing-appender`, with one whole line at a time; the only place that may wait for
//! the reader of the log. A line that cannot be written is counted as lost; the count is logged as soon as
//! a line can be written again.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use tracing::Level;

use crate::clock::Clock;
use crate::job::counted;

use super::line::{LineFormat, LogLine};
use super::lost_lines::LostLines;

/// Where the log goes.
#[derive(Debug)]
pub(super) enum Sink {
    File { file: File, ends_within_line: bool },
    Journal { socket: UnixDatagram, path: PathBuf },
}

impl Sink {
    pub(super) fn file(descriptor: OwnedFd) -> Self {
        Self::File { file: descriptor.into(), ends_within_line: false }
    }

    /// The journal, which listens at `path`.
    pub(super) fn journal(path: &str) -> io::Result<Self> {
        Ok(Self::Journal { socket: UnixDatagram::unbound()?, path: path.into() })
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, ends_within_line } => {
                if *ends_within_line {
                    write_fully(file, b"\n")?;
                }
                *ends_within_line = false;
                write_fully(file, line).inspect_err(|_| *ends_within_line = true)
            }
            Self::Journal { socket, path } => loop {
                match socket.send_to(line, &*path) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    sent => return sent.map(drop),
                }
            },
        }
    }
}

/// Writes everything, also to a descriptor that another process has made non-blocking.
fn write_fully(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(file, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A writer of lines that never fails.
#[derive(Debug)]
pub(super) struct LineWriter {
    sink: Sink,
    format: LineFormat,
    clock: Clock,
    lost_lines: LostLines,
    last_write_failed: bool,
}

impl LineWriter {
    pub(super) fn new(sink: Sink, format: LineFormat, clock: Clock, lost_lines: LostLines) -> Self {
        Self { sink, format, clock, lost_lines, last_write_failed: false }
    }

    fn report_lost_lines(&mut self) {
        let lost = self.lost_lines.unreported();
        if lost == 0 || self.last_write_failed {
            return;
        }
        let message =
            format!("lost because the log could not be written: {}", counted(lost, "line"));
        let line =
            LogLine::about_log(Level::WARN, message).encode(self.format, self.clock.utc_now());
        if self.sink.write_line(&line).is_ok() {
            self.lost_lines.record_report(lost);
        }
    }
}

impl Write for LineWriter {
    /// Each call has one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let result = self.sink.write_line(line);
        self.last_write_failed = result.is_err();
        if let Err(error) = result {
            self.lost_lines.record_failure(&error);
        }
        self.lost_lines.record_taken();
        Ok(line.len())
    }

    /// Called when the queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        self.report_lost_lines();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_line_after_a_failed_write_begins_on_a_new_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let file = File::options().create(true).append(true).open(&path).expect("a file");
        let mut writer = LineWriter::new(
            Sink::File { file, ends_within_line: true },
            LineFormat::Text { colored: false },
            Clock::start(),
            LostLines::default(),
        );
        writer.write_all(b"whole\n").expect("never fails");
        writer.flush().expect("never fails");
        assert_eq!(std::fs::read_to_string(path).expect("a log"), "\nwhole\n");
    }

    #[test]
    fn fault_58_lost_lines_are_counted_and_told_of_once_the_sink_works_again() {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let lost = LostLines::default();
        let format = LineFormat::Text { colored: false };
        let mut writer =
            LineWriter::new(Sink::file(full.into()), format, Clock::start(), lost.clone());
        for _ in 0..3 {
            writer.write_all(b"line\n").expect("never fails");
            writer.flush().expect("never fails");
        }
        let reason = lost.degraded_reason().expect("the log is not well");
        assert!(reason.contains("No space left") && reason.contains("3 lines"), "{reason}");

        let (mut reader, pipe) = io::pipe().expect("a pipe");
        writer.sink = Sink::file(OwnedFd::from(pipe));
        writer.write_all(b"line\n").expect("never fails");
        writer.flush().expect("never fails");
        assert_eq!((lost.total(), lost.degraded_reason()), (3, None));
        drop(writer);
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0] == "line"
                && lines[1].ends_with("lost because the log could not be written: 3 lines"),
            "{text}"
        );
    }

    /// journald is restarted: its socket is away for a moment, then a new one is at the same path.
    #[test]
    fn fault_58_lines_lost_while_journald_is_away_are_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let lost = LostLines::default();
        let sink = Sink::journal(path.to_str().expect("UTF-8")).expect("a socket");
        let mut writer = LineWriter::new(sink, LineFormat::Journal, Clock::start(), lost.clone());
        writer.write_all(b"MESSAGE=one\n").expect("never fails");
        assert_eq!(lost.total(), 1);
        let journald = UnixDatagram::bind(&path).expect("a socket");
        writer.write_all(b"MESSAGE=two\n").expect("never fails");
        writer.flush().expect("never fails");
        let mut entry = [0; 1024];
        let mut receive = || {
            let size = journald.recv(&mut entry).expect("an entry");
            String::from_utf8_lossy(&entry[..size]).into_owned()
        };
        assert_eq!(receive(), "MESSAGE=two\n");
        let told = receive();
        assert!(
            told.starts_with("PRIORITY=4\n")
                && told.contains("MESSAGE=lost because the log could not be written: 1 line"),
            "{told}"
        );
        assert_eq!(lost.degraded_reason(), None);
    }
}
