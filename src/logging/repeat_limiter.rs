//! Limits how often lines of one kind are logged, so that no fault can flood the log. PURE.
//!
//! Used by `layer`. A kind is one place in the code that logs. Only warnings and errors are limited: other
//! lines are bounded by what really happens, such as the end of a job.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::job::MonotonicTime;

/// Whether a line is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The line is logged; `omitted_before` lines of its kind before it were not.
    Admitted {
        omitted_before: u64,
    },
    Omitted,
}

/// The lines of each kind `K` in the current interval.
#[derive(Debug)]
pub(super) struct RepeatLimiter<K> {
    kinds: HashMap<K, KindCount>,
}

#[derive(Debug)]
struct KindCount {
    interval_start: MonotonicTime,
    admitted: u32,
    omitted: u64,
}

impl<K: Eq + Hash> RepeatLimiter<K> {
    const INTERVAL: Duration = Duration::from_mins(1);
    const MAX_PER_INTERVAL: u32 = 100;

    pub(super) fn new() -> Self {
        Self { kinds: HashMap::new() }
    }

    pub(super) fn admit(&mut self, kind: K, now: MonotonicTime) -> Admission {
        let count = self.kinds.entry(kind).or_insert(KindCount {
            interval_start: now,
            admitted: 0,
            omitted: 0,
        });
        if now.duration_since(count.interval_start) >= Self::INTERVAL {
            count.interval_start = now;
            count.admitted = 0;
        }
        if count.admitted == Self::MAX_PER_INTERVAL {
            count.omitted += 1;
            return Admission::Omitted;
        }
        count.admitted += 1;
        Admission::Admitted { omitted_before: std::mem::take(&mut count.omitted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_58_a_kind_is_limited_within_a_minute_and_the_rest_counted() {
        let (mut limiter, kind) = (RepeatLimiter::new(), "a kind");
        let at = |ms| MonotonicTime::from_millis(ms);
        let admitted: Vec<_> = (0..1000).map(|ms| limiter.admit(kind, at(ms))).collect();
        let first = Admission::Admitted { omitted_before: 0 };
        assert_eq!(admitted[..100], [first; 100]);
        assert_eq!(admitted[100..], [Admission::Omitted; 900]);
        assert_eq!(limiter.admit("another kind", at(999)), first);
        assert_eq!(limiter.admit(kind, at(59_999)), Admission::Omitted);
        let after = Admission::Admitted { omitted_before: 901 };
        assert_eq!(limiter.admit(kind, at(60_000)), after);
        assert_eq!(limiter.admit(kind, at(60_001)), first);
    }
}
