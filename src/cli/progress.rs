//! The progress lines of `wait` and `add` on standard error.
//!
//! Drawn only on a terminal, redrawn each second by a thread of `indicatif`, cleared at the end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::escape::escape_unprintable;
use crate::job::State;

/// A progress line; clones share it.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    total: usize,
}

impl Progress {
    /// A line for `total` jobs, not drawn yet, or never if it is not `visible`.
    pub(super) fn new(total: usize, visible: bool) -> Self {
        let style = ProgressStyle::with_template("{msg}{prefix}, {elapsed_precise}");
        let bar = ProgressBar::new_spinner()
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
            .with_finish(indicatif::ProgressFinish::AndClear);
        if !visible {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, total }
    }

    /// Shows the states of the unfinished jobs.
    pub(super) fn update(&self, unfinished: impl Iterator<Item = State>) {
        if !self.is_visible() {
            return;
        }
        self.bar.set_message(progress_text(self.total, unfinished));
        self.bar.enable_steady_tick(Duration::from_secs(1));
    }

    /// Whether standard error is a terminal.
    pub(super) fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows the expected end, or nothing if it is unknown.
    pub(super) fn set_expected_end(&self, end: Option<&str>) {
        self.bar.set_prefix(
            end.map(|end| format!(", {}", escape_unprintable(end))).unwrap_or_default(),
        );
    }

    /// Removes the line while `action` prints.
    pub(super) fn suspend<T>(&self, action: impl FnOnce() -> T) -> T {
        self.bar.suspend(action)
    }
}

/// The progress line of `add`.
pub(super) struct AddProgress(ProgressBar);

impl AddProgress {
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(super) fn visible() -> Self {
        let style = ProgressStyle::with_template("{pos} added, {elapsed_precise}");
        let bar = ProgressBar::new_spinner()
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
            .with_finish(indicatif::ProgressFinish::AndClear);
        Self(bar)
    }

    pub(super) fn add(&self, jobs: usize) {
        self.0.inc(jobs as u64);
        self.0.enable_steady_tick(Duration::from_secs(1));
    }

    /// Removes the line while `action` prints.
    pub(super) fn suspend<T>(&self, action: impl FnOnce() -> T) -> T {
        self.0.suspend(action)
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn progress_text(total: usize, unfinished: impl Iterator<Item = State>) -> String {
    let unfinished: Vec<_> = unfinished.collect();
    let mut parts = vec![format!("{} of {total} done", total - unfinished.len())];
    for state in State::ALL.into_iter().rev() {
        let count = unfinished.iter().filter(|candidate| **candidate == state).count();
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
    fn unfinished_jobs_are_counted_by_state() {
        let unfinished = [State::Pending, State::Running, State::Running, State::Registered];
        let expected = "4 of 8 done, 2 running, 1 pending, 1 registered";
        assert_eq!(progress_text(8, unfinished.into_iter()), expected);
    }
}
