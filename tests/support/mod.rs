//! Fixtures shared by the test binaries: a daemon in a temporary directory, its client, its
//! database, and the fake server.
//!
//! Tests wait for an event (a notification, a request, a committed transition) with one deadline;
//! no fixture sleeps.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod control_load;
pub mod daemon;
pub mod db;
pub mod fake_server;
pub mod jobs;

use std::time::Duration;

/// The deadline for events that normally happen within a second or two.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a provider whose jobs take about a second.
pub const FAST_POLLING_TOML: &str = "requests_per_minute = 3000\npolicy = \"backoff\"\nmin_interval = \"100ms\"\nmax_interval = \"200ms\"";

/// Prints why this machine cannot run a test, which then passes. With `JOBTRACK_RIGS=required`, as in CI,
/// the test fails instead.
pub fn report_unavailable(reason: &str) {
    let required = std::env::var("JOBTRACK_RIGS").is_ok_and(|value| value == "required");
    assert!(!required, "this machine cannot run the test: {reason}");
    println!("skipped: {reason}");
}

/// Runs `action` and measures its duration.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let started = std::time::Instant::now();
    let result = action();
    (result, started.elapsed())
}
