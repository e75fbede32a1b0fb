//! The number of log lines that were lost, for the log itself and for `status`, and of those that still wait
//! to be written.
//!
//! Updated by the threads that log and the thread that writes the log; read by the control socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_appender::non_blocking::ErrorCounter;

use crate::job::counted;

/// Counts the lost lines; clones share the count.
#[derive(Debug, Default, Clone)]
pub struct LostLines(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// All lines, also those that found the queue full.
    logged: AtomicU64,
    /// Lines that left the queue, also those whose write failed.
    taken: AtomicU64,
    /// Lines that found the queue full.
    rejected: OnceLock<ErrorCounter>,
    /// Lines whose write failed.
    failed: AtomicU64,
    /// Lost lines that a line in the log has reported.
    reported: AtomicU64,
    /// The error of the last write that failed.
    last_error: Mutex<Option<String>>,
}

impl LostLines {
    /// All lines lost since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed).saturating_add(self.rejected())
    }

    /// Why lines are being lost; `None` once a line in the log has reported all lost lines, which shows that
    /// the log can be written again.
    #[must_use]
    pub fn degraded_reason(&self) -> Option<String> {
        let lost = self.unreported();
        if lost == 0 {
            return None;
        }
        let last_error = self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = last_error.as_deref().unwrap_or("nothing reads it");
        Some(format!("the log cannot be written ({cause}); lost so far: {}", counted(lost, "line")))
    }

    fn rejected(&self) -> u64 {
        self.0.rejected.get().map_or(0, ErrorCounter::dropped_lines) as u64
    }

    /// Whether lines are in the queue or being written.
    pub(super) fn has_waiting_lines(&self) -> bool {
        let left = self.0.taken.load(Ordering::Relaxed).saturating_add(self.rejected());
        self.0.logged.load(Ordering::Relaxed) > left
    }

    pub(super) fn record_logged(&self) {
        self.0.logged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_taken(&self) {
        self.0.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unreported(&self) -> u64 {
        self.total().saturating_sub(self.0.reported.load(Ordering::Relaxed))
    }

    pub(super) fn count_rejected_by(&self, counter: ErrorCounter) {
        // Called once, before the first line.
        let _ = self.0.rejected.set(counter);
    }

    pub(super) fn record_failure(&self, error: &std::io::Error) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        let mut last_error = self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last_error = Some(error.to_string());
    }

    /// A line in the log has reported `lines` more lost lines.
    pub(super) fn record_report(&self, lines: u64) {
        self.0.reported.fetch_add(lines, Ordering::Relaxed);
        *self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
