//! When "not found" is believed: three times, over a quarter of an hour, or over an hour if the
//! provider has never known the job. Counted on the stopwatch, so that a clock set forward loses
//! no job; a good answer forgets it all, and so does a restart, which only makes us slower.

use std::time::Duration;

use super::time::Mono;

/// The "not found" answers in a row for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    first: Mono,
    times: u32,
}

impl Missing {
    /// This many answers in a row are needed.
    pub const CONFIRMATIONS: u32 = 3;
    /// Between the first and the last, for a job that was seen.
    pub const GRACE: Duration = Duration::from_mins(15);
    /// The same, for a job that was never seen: a fresh id may take its time to appear.
    pub const GRACE_UNSEEN: Duration = Duration::from_hours(1);

    /// Counts one more "not found" to those before.
    #[must_use]
    pub fn again(before: Option<Self>, now: Mono) -> Self {
        match before {
            Some(missing) => Self { times: missing.times.saturating_add(1), ..missing },
            None => Self { first: now, times: 1 },
        }
    }

    /// Whether the job is lost.
    #[must_use]
    pub fn is_proven(self, ever_seen: bool, now: Mono) -> bool {
        let grace = if ever_seen { Self::GRACE } else { Self::GRACE_UNSEEN };
        self.times >= Self::CONFIRMATIONS && now.since(self.first) >= grace
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
    fn needs_both_the_count_and_the_time() {
        // (ever seen, minutes of the "not found" answers, proven by the last)
        let cases: [(bool, &[u64], bool); 7] = [
            (true, &[0], false),
            (true, &[0, 15], false),
            (true, &[0, 5, 14], false),
            (true, &[0, 5, 15], true),
            (false, &[0, 5, 15], false),
            (false, &[0, 30, 59], false),
            (false, &[0, 30, 60], true),
        ];
        for (seen, minutes, proven) in cases {
            let at = |minute: &u64| Mono::from_millis(minute * 60_000);
            let missing =
                minutes.iter().fold(None, |m, minute| Some(Missing::again(m, at(minute))));
            let last = at(minutes.last().expect("one at least"));
            assert_eq!(missing.expect("one").is_proven(seen, last), proven, "{seen} {minutes:?}");
        }
    }
}
