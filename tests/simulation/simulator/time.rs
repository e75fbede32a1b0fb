//! Simulated time: the uptime follows the paused clock of tokio and jumps by a suspend, and the wall
//! clock of the daemon may be wrong. The services have the right time.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use jobtrack::clock::TimeSource;
use jobtrack::job::UtcTime;
use tokio::time::Instant;

/// The right time at the start of a simulation, in milliseconds since 1970.
const START_MS: i64 = 1_800_000_000_000;

#[derive(Debug)]
pub struct SimulatedTime {
    started: Instant,
    state: Mutex<TimeState>,
}

#[derive(Debug)]
struct TimeState {
    suspended: Duration,
    wall_offset_ms: i64,
    /// The time during a call of the store, which runs in another runtime with a clock of its own.
    frozen: Option<Duration>,
    random: fastrand::Rng,
}

impl SimulatedTime {
    /// Starts now; to be called in a runtime whose clock is paused.
    #[expect(clippy::disallowed_methods, reason = "the clock of the simulation")]
    pub fn start(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let state =
            TimeState { suspended: Duration::ZERO, wall_offset_ms: 0, frozen: None, random };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, TimeState> {
        self.state.lock().expect("no panic while the time is locked")
    }

    #[expect(clippy::disallowed_methods, reason = "the clock of the simulation")]
    fn elapsed_in(&self, state: &TimeState) -> Duration {
        state.frozen.unwrap_or_else(|| Instant::now() - self.started + state.suspended)
    }

    /// The time since the start of the simulation, by a clock that is always right.
    pub fn elapsed(&self) -> Duration {
        self.elapsed_in(&self.state())
    }

    pub fn right_time(&self) -> Timestamp {
        let ms = i64::try_from(self.elapsed().as_millis()).expect("a short simulation");
        Timestamp::from_millisecond(START_MS + ms).expect("a time in this century")
    }

    /// Suspends the machine for this long: timers stand still, clocks do not.
    pub fn suspend(&self, duration: Duration) {
        self.state().suspended += duration;
    }

    /// Sets the error of the daemon's wall clock.
    pub fn set_wall_offset(&self, offset_ms: i64) {
        self.state().wall_offset_ms = offset_ms;
    }

    pub fn wall_offset_ms(&self) -> i64 {
        self.state().wall_offset_ms
    }

    /// Stops the time until [`Self::unfreeze`].
    pub fn freeze(&self) {
        let mut state = self.state();
        state.frozen = Some(self.elapsed_in(&state));
    }

    pub fn unfreeze(&self) {
        self.state().frozen = None;
    }
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
        self.state().random.f64()
    }
}
