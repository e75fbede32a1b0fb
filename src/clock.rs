//! The only module that reads the clocks and draws random numbers.
//!
//! The I/O modules pass the readings to the pure modules as arguments. A [`Clock`] reads a
//! [`TimeSource`]: the clocks of the machine in both programs, simulated ones in `tests/simulation`.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::job::{ClockReading, MonotonicTime, UtcTime};

/// The clocks of a machine, and its randomness.
pub trait TimeSource: Debug + Send + Sync {
    /// The time since some moment, by a clock that never jumps and runs on while the machine is
    /// suspended.
    fn uptime(&self) -> Duration;

    /// As [`Self::uptime`], without the time during which the machine was suspended.
    fn running_time(&self) -> Duration {
        self.uptime()
    }

    /// The wall clock, which may jump.
    fn utc_now(&self) -> UtcTime;

    /// A random number, uniform in `0.0..1.0`.
    fn random(&self) -> f64;
}

#[derive(Debug)]
struct SystemTimeSource;

impl TimeSource for SystemTimeSource {
    /// `CLOCK_BOOTTIME`: unlike `CLOCK_MONOTONIC`, which [`std::time::Instant`] reads, it does not
    /// stop during a suspend.
    fn uptime(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }

    fn running_time(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "the only module that reads the clocks")]
    fn utc_now(&self) -> UtcTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since_epoch.map(|after| after.as_millis()).unwrap_or_default();
        UtcTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the only module that draws random numbers")]
    fn random(&self) -> f64 {
        fastrand::f64()
    }
}

/// Reads the clocks. Clones share the same start, so that their monotonic times can be compared.
#[derive(Debug, Clone)]
pub struct Clock {
    source: Arc<dyn TimeSource>,
    /// The uptime at the monotonic time zero.
    start: Duration,
}

impl Clock {
    /// The timers of the async runtime stop during a suspend, so no sleep is longer than this.
    const MAX_SLEEP: Duration = Duration::from_secs(1);

    /// Starts a monotonic clock on the clocks of the machine.
    #[must_use]
    pub fn start() -> Self {
        Self::with_source(Arc::new(SystemTimeSource))
    }

    /// Starts a monotonic clock on `source`.
    #[must_use]
    pub fn with_source(source: Arc<dyn TimeSource>) -> Self {
        let start = source.uptime();
        Self { source, start }
    }

    /// Reads both clocks and draws a random number.
    #[must_use]
    pub fn read(&self) -> ClockReading {
        ClockReading {
            monotonic: self.monotonic_now(),
            utc: self.utc_now(),
            jitter: self.source.random(),
        }
    }

    #[must_use]
    pub fn monotonic_now(&self) -> MonotonicTime {
        let ms = self.since_start().as_millis();
        MonotonicTime::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// The time that the machine has run, without suspends, since an arbitrary moment. Tells whether a
    /// task has stopped: a task cannot run while the machine is suspended.
    #[must_use]
    pub fn running_time(&self) -> Duration {
        self.source.running_time()
    }

    #[must_use]
    pub fn utc_now(&self) -> UtcTime {
        self.source.utc_now()
    }

    /// Sleeps until `at` and at most for a second: the caller reads the clock again, and finds out
    /// soon after a suspend that its time has come.
    pub async fn sleep_until(&self, at: MonotonicTime) {
        let wait = Duration::from_millis(at.as_millis()).saturating_sub(self.since_start());
        tokio::time::sleep(wait.min(Self::MAX_SLEEP)).await;
    }

    fn since_start(&self) -> Duration {
        self.source.uptime().saturating_sub(self.start)
    }
}
