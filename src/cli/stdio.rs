//! Writes to standard output and standard error. All commands print through this file; only the progress
//! line and usage errors are printed by their libraries.
//!
//! Colours are removed unless the stream is a terminal and `NO_COLOR` is unset. Each call writes a
//! whole block and flushes it, so that the reader of a pipe gets it at once.

use std::fmt::Display;
use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::escape::{escape_unprintable, is_unprintable};

pub(super) fn print_lines(lines: &[String]) -> io::Result<()> {
    let mut block = lines.join("\n");
    if !lines.is_empty() {
        block.push('\n');
    }
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(block.as_bytes())?;
    stdout.flush()
}

/// Waits until nobody can read standard output any more: the reader of the pipe has ended, or the terminal is gone.
pub(super) async fn stdout_closed() {
    let (sender, closed) = tokio::sync::oneshot::channel();
    // Not a task of the runtime: its end would wait for this thread.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        let mut stdout = [PollFd::new(&stdout, PollFlags::empty())];
        while poll(&mut stdout, None) == Err(Errno::INTR) {}
        let _ = sender.send(());
    });
    // Without a thread there is no sender, and this is not noticed.
    if closed.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Writes one JSON object per line to standard output.
pub(super) fn print_json_lines<T: Serialize>(objects: &[T]) -> io::Result<()> {
    let mut block = Vec::new();
    for object in objects {
        object.serialize(&mut Serializer::with_formatter(&mut block, TerminalSafeJson))?;
        block.push(b'\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&block)?;
    stdout.flush()
}

/// Compact JSON in which unprintable characters are escaped by JSON's own sequences: the same data, also
/// safe on a terminal.
struct TerminalSafeJson;

impl Formatter for TerminalSafeJson {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for piece in fragment.split_inclusive(is_unprintable) {
            let text = piece.trim_end_matches(is_unprintable);
            writer.write_all(text.as_bytes())?;
            for unit in piece[text.len()..].encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Writes what a command says besides its results and errors to standard error: as a line, or as a JSON object.
pub(super) fn print_notice(notice: &str, json: bool) {
    #[derive(Serialize)]
    struct Notice<'a> {
        notice: &'a str,
    }
    if json {
        print_stderr_json(&Notice { notice });
    } else {
        print_stderr_line(notice);
    }
}

/// Writes a line to standard error, with unprintable characters escaped. A failure is ignored: nothing
/// could report it.
pub(super) fn print_stderr_line(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", escape_unprintable(&line.to_string()));
}

/// Writes one JSON object in a line to standard error. A failure is ignored, as in [`print_stderr_line`].
pub(super) fn print_stderr_json(object: &impl Serialize) {
    let mut line = Vec::new();
    let written = object.serialize(&mut Serializer::with_formatter(&mut line, TerminalSafeJson));
    line.push(b'\n');
    if written.is_ok() {
        let _ = io::stderr().lock().write_all(&line);
    }
}

/// Whether the reader has closed the pipe, as `head` does; not an error of the command.
pub(super) fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_text_and_has_no_unprintable_character() {
        let text = "a\u{9b}31m\u{202e}b\u{e0041} \n\"\u{7f}\u{2028}\u{2029} 脚本";
        let mut json = Vec::new();
        text.serialize(&mut Serializer::with_formatter(&mut json, TerminalSafeJson)).expect("JSON");
        let json = String::from_utf8(json).expect("UTF-8");
        assert!(!json.contains(is_unprintable), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}
