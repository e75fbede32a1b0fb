//! Decides when repeated "not found" answers make a job `lost`.
//!
//! A minimum number of consecutive answers and a minimum time between the first and the last are
//! required. The monotonic clock measures the time, so that a wall clock set forward loses no job. A
//! successful answer or a restart begins anew.
//!
//! Between two such answers the provider may have been unavailable or not polled at all. One gap
//! therefore counts for at most half of the required time.

use std::time::Duration;

use super::time::MonotonicTime;

/// How long a provider must report "not found" before a job is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFoundTimeout {
    /// For a job that a poll has observed.
    pub previously_seen: Duration,
    /// For a job that no poll has observed: a new job may appear late.
    pub never_seen: Duration,
}

/// The consecutive "not found" answers for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFoundStreak {
    last_at: MonotonicTime,
    counted_time: Duration,
    count: u32,
}

impl NotFoundStreak {
    const REQUIRED_COUNT: u32 = 3;

    /// The previous streak with one more "not found" answer.
    #[must_use]
    pub fn extend(previous: Option<Self>, timeout: Duration, now: MonotonicTime) -> Self {
        match previous {
            Some(Self { last_at, counted_time, count }) => Self {
                last_at: now,
                counted_time: counted_time
                    .saturating_add(now.duration_since(last_at).min(timeout / 2)),
                count: count.saturating_add(1),
            },
            None => Self { last_at: now, counted_time: Duration::ZERO, count: 1 },
        }
    }

    /// Whether the streak makes the job lost.
    #[must_use]
    pub fn is_confirmed(self, timeout: Duration) -> bool {
        self.count >= Self::REQUIRED_COUNT && self.counted_time >= timeout
    }

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
        // (required minutes, minutes of the "not found" answers, whether the job is lost)
        let cases: [(u64, &[u64], bool); 12] = [
            (15, &[0], false),
            (15, &[0, 15], false),
            (15, &[0, 5, 10], false),
            (15, &[0, 5, 10, 14], false),
            (15, &[0, 5, 10, 15], true),
            (60, &[0, 5, 10, 15], false),
            (60, &[0, 30, 59], false),
            (60, &[0, 30, 60], true),
            // A gap of a day counts for half of the required time.
            (15, &[0, 1440], false),
            (15, &[0, 1, 1441], false),
            (15, &[0, 1, 1441, 1446], false),
            (15, &[0, 1, 1441, 1446, 1448], true),
        ];
        for (timeout_minutes, minutes, confirmed) in cases {
            let timeout = Duration::from_mins(timeout_minutes);
            let at = |minute: &u64| MonotonicTime::from_millis(minute * 60_000);
            let streak = minutes.iter().fold(None, |streak, minute| {
                Some(NotFoundStreak::extend(streak, timeout, at(minute)))
            });
            assert_eq!(
                streak.expect("an answer").is_confirmed(timeout),
                confirmed,
                "{timeout:?} {minutes:?}"
            );
        }
    }
}
