//! Decides when repeated "not found" answers make a job `lost`.
//!
//! A minimum number of consecutive answers and a minimum time between the first and the last are
//! required. The monotonic clock measures the time, so that a wall clock set forward loses no job. A
//! successful answer or a restart begins anew.
//!
//! Between two such answers the provider may have been unavailable or not polled at all. One gap
//! therefore counts for at most half of the required time.
//!
//! An answer that no job can have the id counts as "not found". A job may appear late, but an invalid
//! id never becomes valid: if all answers about a job say so, a short time is enough.

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

impl NotFoundTimeout {
    /// The longest time for an id that is invalid by all answers about it.
    const INVALID_ID: Duration = Duration::from_mins(2);

    /// The time for one job. `id_is_invalid`: all answers in the streak call the id invalid. A job that
    /// a poll has observed has a valid id, whatever later answers say.
    fn required(self, previously_seen: bool, id_is_invalid: bool) -> Duration {
        match (previously_seen, id_is_invalid) {
            (true, _) => self.previously_seen,
            (false, true) => self.never_seen.min(Self::INVALID_ID),
            (false, false) => self.never_seen,
        }
    }
}

/// One "not found" answer about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFoundAnswer {
    pub at: MonotonicTime,
    /// Whether the answer says that no job can have this id.
    pub id_is_invalid: bool,
    /// Whether a poll has observed the job.
    pub previously_seen: bool,
}

/// The consecutive "not found" answers for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFoundStreak {
    last_at: MonotonicTime,
    counted_time: Duration,
    required_time: Duration,
    count: u32,
    /// Whether all answers call the id invalid.
    id_is_invalid: bool,
}

impl NotFoundStreak {
    const REQUIRED_COUNT: u32 = 3;

    /// The previous streak with one more "not found" answer.
    #[must_use]
    pub fn extend(
        previous: Option<Self>,
        answer: NotFoundAnswer,
        timeout: NotFoundTimeout,
    ) -> Self {
        let id_is_invalid =
            answer.id_is_invalid && previous.is_none_or(|streak| streak.id_is_invalid);
        let required_time = timeout.required(answer.previously_seen, id_is_invalid);
        let last_at = answer.at;
        match previous {
            Some(streak) => Self {
                last_at,
                counted_time: streak
                    .counted_time
                    .saturating_add(last_at.duration_since(streak.last_at).min(required_time / 2)),
                required_time,
                count: streak.count.saturating_add(1),
                id_is_invalid,
            },
            None => Self {
                last_at,
                counted_time: Duration::ZERO,
                required_time,
                count: 1,
                id_is_invalid,
            },
        }
    }

    /// Whether the streak makes the job lost.
    #[must_use]
    pub fn is_confirmed(self) -> bool {
        self.count >= Self::REQUIRED_COUNT && self.counted_time >= self.required_time
    }

    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    #[must_use]
    pub fn id_is_invalid(self) -> bool {
        self.id_is_invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds of the answers, and whether each calls the id invalid.
    type Answers = &'static [(u64, bool)];

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
            let timeout = NotFoundTimeout { previously_seen: timeout, never_seen: timeout };
            let streak = minutes.iter().fold(None, |streak, minute| {
                let at = MonotonicTime::from_millis(minute * 60_000);
                let answer = NotFoundAnswer { at, id_is_invalid: false, previously_seen: true };
                Some(NotFoundStreak::extend(streak, answer, timeout))
            });
            assert_eq!(
                streak.expect("an answer").is_confirmed(),
                confirmed,
                "{timeout:?} {minutes:?}"
            );
        }
    }

    #[test]
    fn an_invalid_id_is_lost_after_two_minutes_unless_another_answer_disagrees() {
        let timeout = NotFoundTimeout {
            previously_seen: Duration::from_mins(15),
            never_seen: Duration::from_hours(1),
        };
        // (answers, whether the job was seen, whether it is lost)
        let cases: [(Answers, bool, bool); 8] = [
            (&[(0, true)], false, false),
            (&[(0, true), (120, true)], false, false),
            (&[(0, true), (5, true), (10, true), (119, true)], false, false),
            (&[(0, true), (60, true), (120, true)], false, true),
            (&[(0, true), (5, true), (86_400, true)], false, false),
            (&[(0, true), (86_400, true), (86_460, true)], false, true),
            (&[(0, false), (60, true), (120, true), (180, true)], false, false),
            (&[(0, true), (60, true), (120, true)], true, false),
        ];
        for (answers, previously_seen, lost) in cases {
            let streak = answers.iter().fold(None, |streak, (second, id_is_invalid)| {
                let at = MonotonicTime::from_millis(second * 1000);
                let answer = NotFoundAnswer { at, id_is_invalid: *id_is_invalid, previously_seen };
                Some(NotFoundStreak::extend(streak, answer, timeout))
            });
            assert_eq!(streak.expect("an answer").is_confirmed(), lost, "{answers:?}");
        }
    }
}
