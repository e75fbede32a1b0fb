//! The line under which `wait` waits: on standard error, drawn only if that is a terminal,
//! redrawn each second by a thread of `indicatif`'s, gone at the end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::render::plain;
use crate::job::State;

/// The line; clones are the same one.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    total: usize,
}

impl Progress {
    /// Shows nothing yet.
    pub(super) fn start(total: usize) -> Self {
        let style = ProgressStyle::with_template("{msg}{prefix}, {elapsed_precise}");
        let bar = ProgressBar::new_spinner()
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
            .with_finish(indicatif::ProgressFinish::AndClear);
        Self { bar, total }
    }

    /// Tells how the jobs stand that are not over.
    pub(super) fn show(&self, open: impl Iterator<Item = State>) {
        self.bar.set_message(text(self.total, open));
        self.bar.enable_steady_tick(Duration::from_secs(1));
    }

    /// Whether it is drawn at all.
    pub(super) fn is_drawn(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Tells when that should come to its end, or that it is not known.
    pub(super) fn expect(&self, end: Option<&str>) {
        self.bar.set_prefix(end.map(|end| format!(", {}", plain(end))).unwrap_or_default());
    }

    /// Does something else with the terminal meanwhile.
    pub(super) fn beside<T>(&self, act: impl FnOnce() -> T) -> T {
        self.bar.suspend(act)
    }
}

fn text(total: usize, open: impl Iterator<Item = State>) -> String {
    let open: Vec<_> = open.collect();
    let mut parts = vec![format!("{} of {total} done", total - open.len())];
    for state in State::ALL.into_iter().rev() {
        let count = open.iter().filter(|one| **one == state).count();
        if count > 0 {
            parts.push(format!("{count} {state}"));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_jobs_are_counted_by_state() {
        let open = [State::Pending, State::Running, State::Running, State::Registered];
        let expected = "4 of 8 done, 2 running, 1 pending, 1 registered";
        assert_eq!(text(8, open.into_iter()), expected);
    }
}
