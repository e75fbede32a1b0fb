//! Simulated time: the uptime follows the paused clock of tokio and jumps by a suspend, and the wall
//! clock of the daemon may be wrong. The services have the right time.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jobtrack::clock::TimeSource;
use jobtrack::job::UtcTime;
use tokio::time::Instant;

/// The right time at the start of a simulation, in milliseconds since 1970.
const START_MS: i64 = 1_800_000_000_000;

thread_local! {
    /// How often the thread has waited: the only occasions on which the clock of tokio advances.
    static WAITS: Cell<u64> = const { Cell::new(0) };
}

/// A runtime in which time passes only while nothing else is to be done.
pub fn paused_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.on_thread_unpark(|| WAITS.set(WAITS.get() + 1));
    builder.enable_time().start_paused(true).build().expect("a runtime")
}

/// The daemon reads the clocks a dozen times a turn of its loop, so they are atomic numbers.
#[derive(Debug)]
pub struct SimulatedTime {
    started: Instant,
    /// The time by tokio's clock, and the number of waits before it was read.
    running_ns: AtomicU64,
    read_after_waits: AtomicU64,
    suspended_ns: AtomicU64,
    wall_offset_ms: AtomicI64,
    /// The time during a call of the store, which runs in another runtime with a clock of its own.
    frozen_ns: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

impl SimulatedTime {
    const NOT_FROZEN: u64 = u64::MAX;

    /// Starts now; to be called in a [`paused_runtime`], whose thread alone reads the time while it is not frozen.
    #[expect(clippy::disallowed_methods, reason = "the clock of the simulation")]
    pub fn start(seed: u64) -> Self {
        Self {
            started: Instant::now(),
            running_ns: AtomicU64::new(0),
            read_after_waits: AtomicU64::new(u64::MAX),
            suspended_ns: AtomicU64::new(0),
            wall_offset_ms: AtomicI64::new(0),
            frozen_ns: AtomicU64::new(Self::NOT_FROZEN),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// The time since the start of the simulation, by a clock that is always right.
    pub fn elapsed(&self) -> Duration {
        let ns = match self.frozen_ns.load(Ordering::Relaxed) {
            Self::NOT_FROZEN => self.running_ns() + self.suspended_ns.load(Ordering::Relaxed),
            frozen_ns => frozen_ns,
        };
        Duration::from_nanos(ns)
    }

    #[expect(clippy::disallowed_methods, reason = "the clock of the simulation")]
    fn running_ns(&self) -> u64 {
        let waits = WAITS.get();
        if self.read_after_waits.swap(waits, Ordering::Relaxed) != waits {
            let running_ns = nanoseconds(Instant::now() - self.started);
            self.running_ns.store(running_ns, Ordering::Relaxed);
        }
        self.running_ns.load(Ordering::Relaxed)
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
