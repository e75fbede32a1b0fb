//! When "not found" is believed: three times, over a quarter of an hour, or over an hour if the
//! provider has never known the job; the times are settings. Counted on the stopwatch, so that a
//! clock set forward loses no job; a good answer forgets it all, and so does a restart, which only
//! makes us slower.
//!
//! Between two such answers the provider may have been out, or not asked at all: however long that
//! was, it counts for half of what is needed at most, so that no single silence makes a job lost.

use std::time::Duration;

use super::time::Mono;

/// For how long a provider must deny a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// One that was seen.
    pub seen: Duration,
    /// One that was never seen: a fresh id may take its time to appear.
    pub unseen: Duration,
}

/// The "not found" answers in a row for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    last: Mono,
    counted: Duration,
    times: u32,
}

impl Missing {
    /// This many answers in a row are needed.
    pub const CONFIRMATIONS: u32 = 3;

    /// Counts one more "not found" to those before.
    #[must_use]
    pub fn again(before: Option<Self>, grace: Duration, now: Mono) -> Self {
        match before {
            Some(Self { last, counted, times }) => Self {
                last: now,
                counted: counted.saturating_add(now.since(last).min(grace / 2)),
                times: times.saturating_add(1),
            },
            None => Self { last: now, counted: Duration::ZERO, times: 1 },
        }
    }

    /// Whether the job is lost.
    #[must_use]
    pub fn is_proven(self, grace: Duration) -> bool {
        self.times >= Self::CONFIRMATIONS && self.counted >= grace
    }

    /// How many answers in a row there were.
    #[must_use]
    pub fn times(self) -> u32 {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_both_the_count_and_the_time_and_no_gap_is_proof() {
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
        for (grace, minutes, proven) in cases {
            let grace = Duration::from_mins(grace);
            let at = |minute: &u64| Mono::from_millis(minute * 60_000);
            let missing =
                minutes.iter().fold(None, |m, minute| Some(Missing::again(m, grace, at(minute))));
            assert_eq!(missing.expect("one").is_proven(grace), proven, "{grace:?} {minutes:?}");
        }
    }
}
