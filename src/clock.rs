//! The one place that reads the clocks and throws the dice; the IO rooms hand what it tells to
//! the pure ones.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::job::{ClockReading, MonotonicTime, UtcTime};

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the stopwatch.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the edge")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks and a throw of the dice.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the edge")]
    pub fn read(&self) -> ClockReading {
        ClockReading {
            monotonic: self.monotonic_now(),
            utc: Self::utc_now(),
            jitter: fastrand::f64(),
        }
    }

    /// The stopwatch.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the edge")]
    pub fn monotonic_now(&self) -> MonotonicTime {
        let ms = Instant::now().saturating_duration_since(self.start).as_millis();
        MonotonicTime::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// The calendar.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the edge")]
    pub fn utc_now() -> UtcTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since_epoch.map(|after| after.as_millis()).unwrap_or_default();
        UtcTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// The runtime's instant at which the stopwatch will show `at`.
    #[must_use]
    pub fn tokio_instant(&self, at: MonotonicTime) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + Duration::from_millis(at.as_millis()))
    }
}
