//! Exponential backoff with jitter: the interval between two polls of a job that does not change.
//!
//! The interval grows from `min` to `max` and starts at `min` again when the job changes. If the bounds
//! are equal, the interval is constant.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl Backoff {
    /// `docs/polling.md` compares this factor with others.
    const FACTOR: f64 = 1.5;
    /// The width of the jitter as a fraction of the interval. It spreads jobs that were added together.
    const JITTER: f64 = 0.2;

    /// The interval after this many consecutive polls without a change; `jitter` is in `0.0..1.0`.
    #[must_use]
    pub fn next_interval(&self, polls_without_change: u32, jitter: f64) -> Duration {
        let exponent = i32::try_from(polls_without_change).unwrap_or(i32::MAX);
        let unbounded = self.min.as_secs_f64() * Self::FACTOR.powi(exponent);
        let bounded = unbounded.min(self.max.as_secs_f64());
        let jittered = bounded * (1.0 + Self::JITTER * (jitter - 0.5));
        Duration::try_from_secs_f64(jittered)
            .unwrap_or(self.max)
            .clamp(self.min, self.max.max(self.min))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grows_from_min_to_max() {
        let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_mins(5) };
        for (polls_without_change, expected_ms) in (0u32..).zip([1000, 1500, 2250, 3375]) {
            assert_eq!(
                backoff.next_interval(polls_without_change, 0.5),
                Duration::from_millis(expected_ms)
            );
        }
        assert_eq!(backoff.next_interval(u32::MAX, 0.5), backoff.max);
    }

    #[test]
    fn is_fixed_when_its_bounds_are_equal() {
        let second = Duration::from_secs(1);
        let backoff = Backoff { min: second, max: second };
        for (polls_without_change, jitter) in [(0, 0.0), (3, 0.99), (1000, 0.5)] {
            assert_eq!(backoff.next_interval(polls_without_change, jitter), second);
        }
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds_and_never_shrinks(
            min_ms in 1u64..100_000, more_ms in 0u64..10_000_000, quiet in any::<u32>(), jitter in 0.0..1.0f64,
        ) {
            let backoff = Backoff {
                min: Duration::from_millis(min_ms),
                max: Duration::from_millis(min_ms + more_ms),
            };
            let interval = backoff.next_interval(quiet, jitter);
            prop_assert!(interval >= backoff.min && interval <= backoff.max);
            prop_assert!(backoff.next_interval(quiet.saturating_add(1), jitter) >= interval);
        }

        #[test]
        fn the_interval_grows_over_two_polls_despite_jitter(quiet in 0u32..10, jitter in 0.0..1.0f64) {
            let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_mins(5) };
            prop_assert!(backoff.next_interval(quiet + 2, jitter) > backoff.next_interval(quiet, jitter));
        }
    }
}
