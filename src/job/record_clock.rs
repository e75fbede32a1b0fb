//! The UTC time that is recorded: the wall clock, unless that is known to be behind.
//!
//! A machine without a battery for its clock starts in 1970 and is set later. What ends meanwhile must not
//! be recorded as old, because old jobs are deleted. A lower bound of the time is known once the wall clock
//! and the `Date` of an answer agreed: it runs on by the monotonic clock, and the database keeps it for the
//! next process. A wrong `Date` alone moves no time, unless the wall clock is certainly wrong. The tracker
//! owns the one [`RecordClock`]; it depends on its arguments alone.

use std::time::Duration;

use super::time::{ClockReading, MonotonicTime, UtcTime};

/// A wall clock and the latest time that has certainly passed.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordClock {
    /// When the wall clock and a provider last agreed.
    confirmed: Option<PassedTime>,
    /// The `Date` of the last answer.
    server: Option<PassedTime>,
}

/// The latest times that earlier processes recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordedTimes {
    /// A time that was certain ([`super::TrustedClock`]); none in a new database.
    pub certain: Option<UtcTime>,
    /// A time that had passed for certain ([`RecordClock`]).
    pub confirmed: Option<UtcTime>,
}

/// A time that had passed at a moment by the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct PassedTime {
    utc: UtcTime,
    at: MonotonicTime,
}

impl PassedTime {
    fn at(self, now: MonotonicTime) -> UtcTime {
        self.utc.plus(now.duration_since(self.at))
    }
}

impl RecordClock {
    /// Clocks that differ by no more than this agree.
    const TOLERANCE: Duration = Duration::from_mins(5);

    /// Takes over what an earlier process recorded.
    pub fn start(&mut self, confirmed: Option<UtcTime>, at: MonotonicTime) {
        self.confirmed = confirmed.map(|utc| PassedTime { utc, at });
    }

    /// An answer with this `Date` arrived. `wall` is the time by the wall clock alone.
    pub fn record_server_date(&mut self, date: UtcTime, wall: ClockReading) {
        let at = wall.monotonic;
        self.server = Some(PassedTime { utc: date, at });
        if wall.utc >= UtcTime::EARLIEST_PRESENT && agree(wall.utc, date) {
            self.confirmed = Some(PassedTime { utc: wall.utc.min(date), at });
        }
    }

    /// The time to record, which is never before the wall clock's.
    #[must_use]
    pub fn record_time(&self, wall: ClockReading) -> UtcTime {
        let now = wall.monotonic;
        let confirmed = self.confirmed_time(now);
        let is_wrong = wall.utc < UtcTime::EARLIEST_PRESENT
            || confirmed.is_some_and(|confirmed| wall.utc.plus(Self::TOLERANCE) < confirmed);
        let server = self.server_time(now).filter(|_| is_wrong);
        [confirmed, server].into_iter().flatten().fold(wall.utc, UtcTime::max)
    }

    /// A time that has passed for certain, to be recorded for the next process.
    #[must_use]
    pub fn confirmed_time(&self, now: MonotonicTime) -> Option<UtcTime> {
        self.confirmed.map(|confirmed| confirmed.at(now))
    }

    /// The time by a provider's clock, if that is later than the time to record and no provider has
    /// confirmed the latter. One of the two clocks is wrong.
    #[must_use]
    pub fn contradicting_time(&self, wall: ClockReading) -> Option<UtcTime> {
        let recorded = self.record_time(wall);
        let confirmed = self.confirmed_time(wall.monotonic);
        if confirmed.is_some_and(|confirmed| agree(confirmed, recorded)) {
            return None;
        }
        let server = self.server_time(wall.monotonic)?;
        (server > recorded && !agree(server, recorded)).then_some(server)
    }

    fn server_time(&self, now: MonotonicTime) -> Option<UtcTime> {
        self.server.map(|server| server.at(now))
    }
}

fn agree(one: UtcTime, other: UtcTime) -> bool {
    one.duration_since(other).max(other.duration_since(one)) <= RecordClock::TOLERANCE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TODAY: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;
    const TO_1970: i64 = -TODAY;

    /// The clocks `seconds` after the start, with a wall clock that is wrong by `error` seconds.
    fn reading(seconds: i64, error: i64) -> ClockReading {
        let ms = u64::try_from(seconds * 1000).expect("after the start");
        ClockReading {
            monotonic: MonotonicTime::from_millis(ms),
            utc: utc(TODAY + seconds + error),
            jitter: 0.5,
        }
    }

    fn utc(seconds: i64) -> UtcTime {
        UtcTime::from_millis(seconds * 1000)
    }

    /// How far the time to record is ahead of the truth, in seconds.
    fn error_of(clock: &RecordClock, wall: ClockReading) -> i64 {
        let truth = TODAY + i64::try_from(wall.monotonic.as_millis() / 1000).expect("short");
        clock.record_time(wall).as_millis() / 1000 - truth
    }

    #[test]
    fn a_clock_that_falls_back_does_not_take_the_recorded_time_with_it() {
        for error in [-60, -600, -3 * DAY, -400 * DAY, TO_1970] {
            let mut clock = RecordClock::default();
            clock.record_server_date(utc(TODAY), reading(0, 0));
            assert_eq!(error_of(&clock, reading(3600, error)), 0, "{error}");
        }
    }

    #[test]
    fn the_next_process_records_no_time_before_the_one_that_was_confirmed() {
        // (downtime, error, error of the time to record before the first answer, and after it)
        let cases = [
            (0, TO_1970, 0, 0),
            (5 * 3600, TO_1970, -5 * 3600, 0),
            (5 * 3600, -DAY, -5 * 3600, 0),
            (3 * DAY, 0, 0, 0),
            (60, 400 * DAY, 400 * DAY, 400 * DAY),
        ];
        for (downtime, error, before, after) in cases {
            let mut clock = RecordClock::default();
            clock.start(Some(utc(TODAY - downtime)), MonotonicTime::default());
            assert_eq!(error_of(&clock, reading(10, error)), before, "{downtime} {error}");
            clock.record_server_date(utc(TODAY + 20), reading(20, error));
            assert_eq!(error_of(&clock, reading(30, error)), after, "{downtime} {error}");
        }
    }

    #[test]
    fn a_date_alone_corrects_only_a_clock_that_was_never_set() {
        // (error of the wall clock, error of the provider's, error of the time to record)
        let cases = [
            (TO_1970, 0, 0),
            (-900 * DAY, 0, 0),
            (-30 * DAY, 0, -30 * DAY),
            (0, 400 * DAY, 0),
            (0, -400 * DAY, 0),
            (400 * DAY, 0, 400 * DAY),
        ];
        for (error, server_error, expected) in cases {
            let mut clock = RecordClock::default();
            clock.start(None, MonotonicTime::default());
            clock.record_server_date(utc(TODAY + 5 + server_error), reading(5, error));
            assert_eq!(error_of(&clock, reading(9, error)), expected, "{error} {server_error}");
        }
    }

    #[test]
    fn two_clocks_that_agree_correct_a_confirmed_time_that_was_wrong() {
        let mut clock = RecordClock::default();
        clock.record_server_date(utc(TODAY + 400 * DAY), reading(0, 400 * DAY));
        assert_eq!(error_of(&clock, reading(10, 0)), 400 * DAY);
        clock.record_server_date(utc(TODAY + 20), reading(20, 0));
        assert_eq!(error_of(&clock, reading(30, 0)), 0);
    }

    #[test]
    fn a_provider_contradicts_only_a_time_that_no_provider_has_confirmed() {
        let contradicts = |clock: &RecordClock, wall| clock.contradicting_time(wall).is_some();
        let mut clock = RecordClock::default();
        assert!(!contradicts(&clock, reading(0, -30 * DAY)));
        clock.record_server_date(utc(TODAY), reading(0, -30 * DAY));
        assert!(contradicts(&clock, reading(9, -30 * DAY)));
        assert!(!contradicts(&clock, reading(9, 0)), "the clock was set");
        clock.record_server_date(utc(TODAY + 10), reading(10, 0));
        clock.record_server_date(utc(TODAY + 11 + DAY), reading(11, 0));
        assert!(!contradicts(&clock, reading(12, 0)), "another provider's clock is wrong");
    }

    proptest! {
        #[test]
        fn the_recorded_time_is_never_behind_once_the_clocks_agreed(
            steps in proptest::collection::vec((1i64..7200, -900 * DAY..900 * DAY, 0u8..4), 1..40),
        ) {
            let mut clock = RecordClock::default();
            clock.record_server_date(utc(TODAY), reading(0, 0));
            let mut now = 0;
            for (seconds, error, answered) in steps {
                now += seconds;
                let wall = reading(now, error);
                if answered == 0 {
                    clock.record_server_date(utc(TODAY + now), wall);
                }
                let found = error_of(&clock, wall);
                prop_assert!(found >= -300, "{found}");
                prop_assert!(found <= error.max(0), "{found} {error}");
            }
        }
    }
}
