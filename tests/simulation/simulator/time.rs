//! Simulated time: the uptime follows the paused clock of tokio and jumps by a suspend, and the wall
//! clock of the daemon may be wrong. The services have the right time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jobtrack::clock::TimeSource;
use jobtrack::job::UtcTime;
use tokio::time::Instant;

/// The right time at the start of a simulation, in milliseconds since 1970.
const START_MS: i64 = 1_800_000_000_000;

/// The daemon reads the clocks a dozen times a turn of its loop, so they are atomic numbers.
#[derive(Debug)]
pub struct SimulatedTime {
    started: Instant,
    suspended_ns: AtomicU64,
    wall_offset_ms: AtomicI64,
    /// The time during a call of the store, which runs in another runtime with a clock of its own.
    frozen_ns: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

impl SimulatedTime {
    const NOT_FROZEN: u64 = u64::MAX;

    /// Starts now; to be called in a runtime whose clock is paused.
    #[expect(clippy::disallowed_methods, reason = "the clock of the simulation")]
    pub fn start(seed: u64) -> Self {
        Self {
            started: Instant::now(),
            suspended_ns: AtomicU64::new(0),
            wall_offset_ms: AtomicI64::new(0),
            frozen_ns: AtomicU64::new(Self::NOT_FROZEN),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// The time since the start of the simulation, by a clock that is always right.
    #[expect(clippy::disallowed_methods, reason = "the clock of the simulation")]
    pub fn elapsed(&self) -> Duration {
        match self.frozen_ns.load(Ordering::Relaxed) {
            Self::NOT_FROZEN => {
                let suspended = Duration::from_nanos(self.suspended_ns.load(Ordering::Relaxed));
                Instant::now() - self.started + suspended
            }
            frozen_ns => Duration::from_nanos(frozen_ns),
        }
    }

    pub fn right_time(&self) -> Timestamp {
        let ms = i64::try_from(self.elapsed().as_millis()).expect("a short simulation");
        Timestamp::from_millisecond(START_MS + ms).expect("a time in this century")
    }

    /// Suspends the machine for this long: timers stand still, clocks do not.
    pub fn suspend(&self, duration: Duration) {
        self.suspended_ns.fetch_add(nanoseconds(duration), Ordering::Relaxed);
    }

    /// Sets the error of the daemon's wall clock.
    pub fn set_wall_offset(&self, offset_ms: i64) {
        self.wall_offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    pub fn wall_offset_ms(&self) -> i64 {
        self.wall_offset_ms.load(Ordering::Relaxed)
    }

    /// Stops the time until [`Self::unfreeze`].
    pub fn freeze(&self) {
        self.frozen_ns.store(nanoseconds(self.elapsed()), Ordering::Relaxed);
    }

    pub fn unfreeze(&self) {
        self.frozen_ns.store(Self::NOT_FROZEN, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a simulation is shorter than 584 years")
}

impl TimeSource for SimulatedTime {
    fn uptime(&self) -> Duration {
        self.elapsed()
    }

    fn utc_now(&self) -> UtcTime {
        let offset = self.wall_offset_ms();
        UtcTime::from_millis(self.right_time().as_millisecond().saturating_add(offset))
    }

    fn random(&self) -> f64 {
        self.random.lock().expect("no panic while it is locked").f64()
    }
}
