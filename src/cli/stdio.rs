//! Writes to standard output and standard error. All commands print through this file; only the progress
//! line and usage errors are printed by their libraries.
//!
//! Colours are removed unless the stream is a terminal and `NO_COLOR` is unset. Each call writes a
//! whole block and flushes it, so that the reader of a pipe gets it at once.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use super::render::replace_control_characters;

pub(super) fn print_lines(lines: &[String]) -> io::Result<()> {
    let mut block = lines.join("\n");
    if !lines.is_empty() {
        block.push('\n');
    }
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(block.as_bytes())?;
    stdout.flush()
}

/// Writes one JSON object per line to standard output.
pub(super) fn print_json_lines<T: Serialize>(objects: &[T]) -> io::Result<()> {
    let mut block = Vec::new();
    for object in objects {
        serde_json::to_writer(&mut block, object)?;
        block.push(b'\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&block)?;
    stdout.flush()
}

/// Writes a line to standard error, without control characters. A failure is ignored: nothing could
/// report it.
pub(super) fn print_notice(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", replace_control_characters(&line.to_string()));
}

/// Whether the reader has closed the pipe, as `head` does; not an error of the command.
pub(super) fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
