//! The size of the terminal, and the pager that shows what is longer than the screen.
//!
//! Used by the commands that print tables. As in git, a pager runs only if standard output is a terminal; it
//! replaces standard output, so that the commands print as they do without one.

use std::fs::File;
use std::io::{self, IsTerminal, stdout};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anstream::AutoStream;
use rustix::stdio::dup2_stdout;
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The columns of the terminal; `None` if standard output is none. `COLUMNS` has precedence.
pub(super) fn output_width() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let columns = columns.filter(|columns| *columns > 0);
    columns.or_else(|| size().map(|size| size.ws_col.into()).filter(|columns| *columns > 0))
}

/// Whether so many lines are more than the terminal shows at once; no if standard output is none.
fn is_longer_than_screen(lines: usize) -> bool {
    size().is_some_and(|size| size.ws_row > 0 && lines >= usize::from(size.ws_row))
}

fn size() -> Option<rustix::termios::Winsize> {
    let stdout = stdout();
    stdout.is_terminal().then(|| tcgetwinsize(&stdout).ok()).flatten()
}

/// A running pager; dropped, it gets the end of its input, and the command waits until the user leaves it.
pub(super) struct Pager {
    child: Child,
    /// Ctrl-C is for the pager: while this exists, it does not end the command.
    _interrupts: Option<Signal>,
}

impl Pager {
    /// Starts the pager if so many lines are too many for the screen. Without a pager that can be
    /// started, the lines are printed all the same.
    pub(super) fn start_for(lines: usize) -> Option<Self> {
        if !is_longer_than_screen(lines) {
            return None;
        }
        let command = pager_command(|name| std::env::var(name).ok())?;
        let (program, arguments) = command.split_first()?;
        let mut pager = Command::new(program);
        pager.args(arguments).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            // Leave at once if one screen suffices, show colours, keep the text on the screen.
            pager.env("LESS", "FRX");
        }
        let mut child = pager.spawn().ok()?;
        let input = OwnedFd::from(child.stdin.take()?);
        // Decided for the terminal, which standard output no longer is.
        AutoStream::choice(&stdout()).write_global();
        let interrupts = signal(SignalKind::interrupt()).ok();
        // Should this fail, the pager ends at once, without input.
        let _ = dup2_stdout(&input);
        Some(Self { child, _interrupts: interrupts })
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        // The pager gets the end of its input when no descriptor of the pipe is left.
        let closed = File::options().write(true).open("/dev/null");
        if closed.and_then(|null| dup2_stdout(&null).map_err(io::Error::from)).is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// The pager and its arguments, from the first of these variables that is set; none if that is empty or `cat`.
fn pager_command(variable: impl Fn(&str) -> Option<String>) -> Option<Vec<String>> {
    let command = variable("JOBTRACK_PAGER").or_else(|| variable("PAGER"));
    let words: Vec<_> =
        command.as_deref().unwrap_or("less").split_whitespace().map(str::to_owned).collect();
    Some(words).filter(|words| !words.is_empty() && *words != ["cat"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_of_jobtrack_has_precedence() {
        for (own, general, expected) in [
            (None, None, Some("less")),
            (None, Some("more"), Some("more")),
            (Some("less -S"), Some("more"), Some("less -S")),
            (Some(""), Some("more"), None),
            (Some("cat"), None, None),
        ] {
            let variable = |name: &str| match name {
                "JOBTRACK_PAGER" => own.map(str::to_owned),
                "PAGER" => general.map(str::to_owned),
                other => panic!("{other}"),
            };
            let command = pager_command(variable).map(|words| words.join(" "));
            assert_eq!(command.as_deref(), expected, "{own:?} {general:?}");
        }
    }
}
