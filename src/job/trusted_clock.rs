//! The time by which something may be done that cannot be undone: deleting old jobs, giving up a job.
//!
//! The wall clock may be wrong at the start, and may jump later. It is believed only as far as a second
//! witness agrees: the `Date` of a provider's answer, or a time that an earlier process recorded shortly
//! before the start. The witness's time runs on by the monotonic clock, and the earlier of the two times
//! counts. Without a witness the wall clock must agree with the monotonic clock for 24 hours. The tracker
//! owns the one [`TrustedClock`]; it depends on its arguments alone.

use std::time::Duration;

use super::time::{ClockReading, MonotonicTime, UtcTime};

/// A wall clock, compared with its witnesses.
#[derive(Debug, Clone, Default)]
pub struct TrustedClock {
    witness: Option<Witness>,
    /// The earliest reading that agrees with all later ones.
    steady_since: Option<(UtcTime, MonotonicTime)>,
}

/// A time that is believed, and when it was so.
#[derive(Debug, Clone, Copy)]
struct Witness {
    utc: UtcTime,
    at: MonotonicTime,
    source: WitnessSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WitnessSource {
    /// The wall clock of this machine, now or as an earlier process recorded it.
    WallClock,
    /// The `Date` of an answer.
    Server,
}

impl TrustedClock {
    /// A wall clock that agrees with the monotonic clock for this long is believed, unless a server
    /// contradicts it. An earlier process's record that is not older than this is a witness.
    pub const STEADY_TIME: Duration = Duration::from_hours(24);
    /// A larger difference between the two clocks is a jump. NTP corrects less in a day.
    const MAX_DRIFT: Duration = Duration::from_mins(1);

    /// Compares the wall clock at a start with the latest time that an earlier process recorded. Without
    /// a record there is nothing old that could be lost.
    pub fn start(&mut self, last_recorded: Option<UtcTime>, now: ClockReading) {
        self.steady_since = Some((now.utc, now.monotonic));
        if self.witness.is_some() {
            return;
        }
        match last_recorded {
            None => self.believe(now.utc, now.monotonic),
            // How long no process ran is known from the wall clock alone: it does not count.
            Some(last) if now.utc.duration_since(last) <= Self::STEADY_TIME => {
                self.believe(last, now.monotonic);
            }
            Some(_) => {}
        }
    }

    /// Compares the two clocks; to be called at least every few seconds.
    pub fn observe(&mut self, now: ClockReading) {
        let Some((utc, at)) = self.steady_since else { return self.start(None, now) };
        let expected = utc.plus(now.monotonic.duration_since(at));
        let drift = expected.duration_since(now.utc).max(now.utc.duration_since(expected));
        if drift > Self::MAX_DRIFT {
            self.steady_since = Some((now.utc, now.monotonic));
            return;
        }
        let contradicted = self.witness.is_some_and(|known| known.source == WitnessSource::Server);
        if now.monotonic.duration_since(at) >= Self::STEADY_TIME && !contradicted {
            self.believe(now.utc, now.monotonic);
        }
    }

    /// An answer with this `Date` arrived.
    pub fn record_server_date(&mut self, date: UtcTime, at: MonotonicTime) {
        self.witness = Some(Witness { utc: date, at, source: WitnessSource::Server });
    }

    /// The earlier of the wall clock's and the witness's times; none without a witness, and none while the
    /// clock is not set.
    #[must_use]
    pub fn certain_time(&self, now: ClockReading) -> Option<UtcTime> {
        let witness = self.witness?;
        let time = now.utc.min(witness.utc.plus(now.monotonic.duration_since(witness.at)));
        (time >= UtcTime::EARLIEST_PRESENT).then_some(time)
    }

    fn believe(&mut self, utc: UtcTime, at: MonotonicTime) {
        self.witness = Some(Witness { utc, at, source: WitnessSource::WallClock });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    const TODAY: i64 = 1_800_000_000;

    /// The clocks `seconds` after the start, with a wall clock that is wrong by `error` seconds.
    fn reading(seconds: u64, error: i64) -> ClockReading {
        ClockReading {
            monotonic: MonotonicTime::from_millis(seconds * 1000),
            utc: utc(TODAY + i64::try_from(seconds).expect("short") + error),
            jitter: 0.5,
        }
    }

    fn utc(seconds: i64) -> UtcTime {
        UtcTime::from_millis(seconds * 1000)
    }

    fn signed_days(days: i64) -> i64 {
        days * 86_400
    }

    /// How far the certain time is ahead of the truth, in seconds.
    fn error_of(clock: &TrustedClock, now: ClockReading, seconds: u64) -> Option<i64> {
        let truth = TODAY + i64::try_from(seconds).expect("short");
        clock.certain_time(now).map(|time| time.as_millis() / 1000 - truth)
    }

    #[test]
    fn a_clock_that_is_ahead_at_the_start_is_believed_only_with_a_witness() {
        // (seconds from the last record to the start by the truth, error of the wall clock, certain)
        let cases = [
            (Some(60), 0, true),
            (Some(DAY), 0, true),
            (Some(60), signed_days(-300), true),
            // Before the earliest present: the clock is not set.
            (Some(60), signed_days(-400), false),
            (Some(60), signed_days(400), false),
            (Some(60), signed_days(2), false),
            (Some(3 * DAY), 0, false),
            (None, 0, true),
        ];
        for (downtime, error, certain) in cases {
            let mut clock = TrustedClock::default();
            let last =
                downtime.map(|downtime| utc(TODAY - i64::try_from(downtime).expect("short")));
            clock.start(last, reading(0, error));
            let found = clock.certain_time(reading(1, error));
            assert_eq!(found.is_some(), certain, "{downtime:?} {error}");
        }
    }

    #[test]
    fn the_date_of_an_answer_corrects_a_wrong_clock() {
        for error in [signed_days(400), signed_days(40), 7200, 0] {
            let mut clock = TrustedClock::default();
            clock.start(Some(utc(TODAY - 60)), reading(0, error));
            clock.record_server_date(utc(TODAY + 5), MonotonicTime::from_millis(5000));
            clock.observe(reading(2 * DAY, error));
            assert_eq!(error_of(&clock, reading(2 * DAY, error), 2 * DAY), Some(0), "{error}");
        }
    }

    #[test]
    fn a_clock_that_is_ahead_by_less_than_a_day_at_the_start_moves_no_certain_time_forward() {
        for error in [0, 60, 12 * 3600, 23 * 3600] {
            let mut clock = TrustedClock::default();
            clock.start(Some(utc(TODAY - 600)), reading(0, error));
            let now = reading(HOUR, error);
            clock.observe(now);
            assert_eq!(
                error_of(&clock, now, HOUR),
                Some(-600),
                "{error}: the time without a process"
            );
        }
    }

    #[test]
    fn a_clock_that_jumps_moves_no_certain_time_forward() {
        let mut clock = TrustedClock::default();
        clock.start(Some(utc(TODAY - 60)), reading(0, 0));
        for second in 1..100 {
            let error = if (40..48).contains(&second) { signed_days(400) } else { 0 };
            let now = reading(second, error);
            clock.observe(now);
            assert_eq!(error_of(&clock, now, second), Some(-60), "{second}");
        }
    }

    #[test]
    fn a_clock_without_a_witness_must_be_steady_for_a_day() {
        let error = signed_days(400);
        let mut clock = TrustedClock::default();
        clock.start(Some(utc(TODAY - 60)), reading(0, error));
        for hour in 1..24 {
            clock.observe(reading(hour * HOUR, error));
            assert_eq!(clock.certain_time(reading(hour * HOUR, error)), None, "{hour}");
        }
        // A jump: the day begins again.
        clock.observe(reading(24 * HOUR - 1, error + 90));
        clock.observe(reading(47 * HOUR, error + 90));
        assert_eq!(clock.certain_time(reading(47 * HOUR, error + 90)), None);
        clock.observe(reading(48 * HOUR, error + 90));
        assert!(clock.certain_time(reading(48 * HOUR, error + 90)).is_some());
    }

    #[test]
    fn a_clock_that_a_server_contradicts_is_never_believed() {
        let error = signed_days(400);
        let mut clock = TrustedClock::default();
        clock.start(Some(utc(TODAY - 60)), reading(0, error));
        clock.record_server_date(utc(TODAY), MonotonicTime::default());
        for day in 1..10 {
            let now = reading(day * DAY, error);
            clock.observe(now);
            assert_eq!(error_of(&clock, now, day * DAY), Some(0), "{day}");
        }
    }

    proptest! {
        #[test]
        fn a_server_that_is_right_keeps_the_certain_time_from_running_ahead(
            errors in proptest::collection::vec(-370 * 86_400i64..900 * 86_400, 1..50),
            answered_at in 0u64..1000,
        ) {
            let mut clock = TrustedClock::default();
            clock.start(None, reading(0, -86_400));
            clock.record_server_date(
                utc(TODAY + i64::try_from(answered_at).expect("short")),
                MonotonicTime::from_millis(answered_at * 1000),
            );
            let mut second = answered_at;
            for error in errors {
                second += HOUR;
                clock.observe(reading(second, error));
                let found = error_of(&clock, reading(second, error), second);
                prop_assert!(found.is_some_and(|found| found <= 0), "{found:?}");
            }
        }
    }
}
