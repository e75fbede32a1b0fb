//! The times of the tracker: what an input says about them, and what may be recorded or deleted by them.
//!
//! Every input passes [`Tracker::correct_times`] first, so that the other handlers know only one UTC time:
//! the one to record ([`crate::job::RecordClock`]).

use std::time::Duration;

use crate::job::{ClockReading, MonotonicTime, UtcTime};

use super::account::EarlierProcess;
use super::message::Input;
use super::registry::Tracker;

impl Tracker {
    /// The time by which something may be deleted or given up for ever; none while the wall clock cannot
    /// be relied on.
    #[must_use]
    pub fn certain_time(&self, wall: ClockReading) -> Option<UtcTime> {
        self.trusted_clock.certain_time(self.corrected(wall))
    }

    /// The time to record.
    #[must_use]
    pub fn record_time(&self, wall: ClockReading) -> UtcTime {
        self.record_clock.record_time(wall)
    }

    /// A time that has passed for certain, for the next process.
    #[must_use]
    pub fn confirmed_time(&self, wall: ClockReading) -> Option<UtcTime> {
        self.record_clock.confirmed_time(wall.monotonic)
    }

    /// The time by a provider's clock, if what is recorded may be dated too early.
    #[must_use]
    pub fn contradicting_time(&self, wall: ClockReading) -> Option<UtcTime> {
        self.record_clock.contradicting_time(wall)
    }

    /// Compares the clocks, and replaces the time by the wall clock with the time to record.
    pub(super) fn correct_times(
        &mut self,
        input: Input,
        wall: ClockReading,
    ) -> (Input, ClockReading) {
        if let Input::LoadRecordedTimes(recorded) = &input {
            self.trusted_clock.start(recorded.certain, wall);
            self.record_clock.start(recorded.confirmed, wall.monotonic);
            self.others_known_from = MonotonicTime::default();
            self.earlier_process = if recorded.certain.is_none() {
                EarlierProcess::None
            } else {
                // However old the recorded time is: the process may have sent requests after it.
                self.others_known_from = wall.monotonic.plus(Duration::from_mins(1));
                EarlierProcess::EndedAt(wall.monotonic)
            };
        } else {
            self.trusted_clock.observe(wall);
        }
        if let Some(date) = input.server_date() {
            self.trusted_clock.record_server_date(date, wall.monotonic);
            self.record_clock.record_server_date(date, wall);
        }
        let now = self.corrected(wall);
        (input.with_corrected_times(now.utc.duration_since(wall.utc)), now)
    }

    fn corrected(&self, wall: ClockReading) -> ClockReading {
        ClockReading { utc: self.record_time(wall), ..wall }
    }
}
