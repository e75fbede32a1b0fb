//! The only place that writes to the standard streams. Text may hold colours: they are stripped
//! where the reader is no terminal or `NO_COLOR` is set.
//!
//! Each call writes a whole block and flushes it, so that a pipe's reader sees it at once.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use super::render::sanitize;

/// Writes lines to standard output.
pub(super) fn print_lines(lines: &[String]) -> io::Result<()> {
    let mut block = lines.join("\n");
    if !lines.is_empty() {
        block.push('\n');
    }
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(block.as_bytes())?;
    stdout.flush()
}

/// Writes one JSON object a line to standard output.
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

/// Writes a line to standard error, free of what could steer a terminal. If that fails there is
/// nobody left to tell.
pub(super) fn print_notice(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", sanitize(&line.to_string()));
}

/// Whether the reader of a pipe has gone: no failure of ours.
pub(super) fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
