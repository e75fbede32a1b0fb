//! The only module that reads the clocks and draws random numbers.
//!
//! The I/O modules pass the readings to the pure modules as arguments.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::job::{ClockReading, MonotonicTime, UtcTime};

/// The clocks of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the monotonic clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the only module that reads the clocks")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks and draws a random number.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the only module that reads the clocks")]
    pub fn read(&self) -> ClockReading {
        ClockReading {
            monotonic: self.monotonic_now(),
            utc: Self::utc_now(),
            jitter: fastrand::f64(),
        }
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the only module that reads the clocks")]
    pub fn monotonic_now(&self) -> MonotonicTime {
        let ms = Instant::now().saturating_duration_since(self.start).as_millis();
        MonotonicTime::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the only module that reads the clocks")]
    pub fn utc_now() -> UtcTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since_epoch.map(|after| after.as_millis()).unwrap_or_default();
        UtcTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// The instant of the async runtime that corresponds to `at`.
    #[must_use]
    pub fn tokio_instant(&self, at: MonotonicTime) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + Duration::from_millis(at.as_millis()))
    }
}
