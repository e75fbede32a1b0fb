//! The only home of fixtures: a daemon in a temporary directory, its client, its database.
//!
//! A test waits for an event (a notification, an answer, a transition on the event stream), with one
//! deadline; nothing here sleeps.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod daemon;
pub mod db;
pub mod fake_server;
pub mod jobs;

use std::time::Duration;

/// For everything that should happen at once; only a defect ever waits so long.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a provider that is asked often, for lives of a second.
pub const FAST_POLLING_TOML: &str = "requests_per_minute = 3000\npolicy = \"backoff\"\nmin_interval = \"100ms\"\nmax_interval = \"200ms\"";

/// Runs `what`; what it returned, and how long it took.
#[allow(clippy::disallowed_methods, reason = "a test is an edge")]
pub fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let started = std::time::Instant::now();
    let result = action();
    (result, started.elapsed())
}
