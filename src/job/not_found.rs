//! When "not found" is believed: three times, over a quarter of an hour, or over an hour if the
//! provider has never known the job; the times are settings. Counted on the stopwatch, so that a
//! clock set forward loses no job; a good answer forgets it all, and so does a restart, which only
//! makes us slower.
//!
//! Between two such answers the provider may have been out, or not asked at all: however long that
//! was, it counts for half of what is needed at most, so that no single silence makes a job lost.

use std::time::Duration;

use super::time::MonotonicTime;

/// For how long a provider must deny a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFoundTimeout {
    /// One that was seen.
    pub previously_seen: Duration,
    /// One that was never seen: a fresh id may take its time to appear.
    pub never_seen: Duration,
}

/// The "not found" answers in a row for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFoundStreak {
    last_at: MonotonicTime,
    counted_time: Duration,
    count: u32,
}

impl NotFoundStreak {
    /// This many answers in a row are needed.
    pub const REQUIRED_COUNT: u32 = 3;

    /// Counts one more "not found" to those before.
    #[must_use]
    pub fn extend(previous: Option<Self>, timeout: Duration, now: MonotonicTime) -> Self {
        match previous {
            Some(Self { last_at: last, counted_time: counted, count: times }) => Self {
                last_at: now,
                counted_time: counted.saturating_add(now.duration_since(last).min(timeout / 2)),
                count: times.saturating_add(1),
            },
            None => Self { last_at: now, counted_time: Duration::ZERO, count: 1 },
        }
    }

    /// Whether the job is lost.
    #[must_use]
    pub fn is_confirmed(self, timeout: Duration) -> bool {
        self.count >= Self::REQUIRED_COUNT && self.counted_time >= timeout
    }

    /// How many answers in a row there were.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_confirmed_by_count_and_time_and_never_by_a_single_gap() {
        // (minutes needed, minutes of the "not found" answers, proven by the last)
        let cases: [(u64, &[u64], bool); 12] = [
            (15, &[0], false),
            (15, &[0, 15], false),
            (15, &[0, 5, 10], false),
            (15, &[0, 5, 10, 14], false),
            (15, &[0, 5, 10, 15], true),
            (60, &[0, 5, 10, 15], false),
            (60, &[0, 30, 59], false),
            (60, &[0, 30, 60], true),
            // A day of silence counts for half.
            (15, &[0, 1440], false),
            (15, &[0, 1, 1441], false),
            (15, &[0, 1, 1441, 1446], false),
            (15, &[0, 1, 1441, 1446, 1448], true),
        ];
        for (timeout_minutes, minutes, confirmed) in cases {
            let timeout = Duration::from_mins(timeout_minutes);
            let at = |minute: &u64| MonotonicTime::from_millis(minute * 60_000);
            let streak = minutes
                .iter()
                .fold(None, |m, minute| Some(NotFoundStreak::extend(m, timeout, at(minute))));
            assert_eq!(
                streak.expect("one").is_confirmed(timeout),
                confirmed,
                "{timeout:?} {minutes:?}"
            );
        }
    }
}
