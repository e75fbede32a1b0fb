//! What the past says of one job: when it is asked next, what a request for it is worth, when it
//! should be over. Nothing here changes anything.

use std::time::Duration;

use crate::job::{ClockReading, JobId, MonotonicTime, State};
use crate::policy::{
    Distribution, DurationHistory, Mixture, PlannedPoll, PollReason, staleness_index,
};

use super::Tracker;
use super::age::JobAge;
use super::due_queue::{Evaluation, Priority};
use super::job::TrackedJob;
use super::limits::{JobLimits, LearnedPolicy};
use super::phase::PollPhase;
use super::provider_queue::ProviderQueue;

/// What is known of a job's next poll and of its end, for a person to read.
#[derive(Debug, Clone, PartialEq)]
pub struct PollForecast {
    /// When it is asked next.
    pub next_poll: NextPollTime,
    /// By which rule.
    pub reason: ForecastReason,
    /// The past runs that it is compared with; none if none are like it.
    pub similar_runs: Option<SimilarRunsSummary>,
    /// The time until it should be over, as likely before as after; none if no past run is like it,
    /// or hardly one took so long.
    pub expected_remaining: Option<Duration>,
}

/// When a job is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextPollTime {
    /// It is being asked, or what was answered is being written.
    InProgress,
    /// It is due for so long, and waits for its turn.
    Overdue(Duration),
    /// After this time.
    In(Duration),
}

/// What decides when a job is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ForecastReason {
    /// It was never asked.
    FirstPoll,
    /// Pauses that grow.
    Backoff,
    /// By then it may have been over for as long as a request may cost.
    Price(Duration),
    /// The past would have it later, but no job is left alone for so large a part of its age.
    MaxWait,
}

/// Runs that are over.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarRunsSummary {
    /// The name that they have in common.
    pub similarity_key: String,
    /// How many.
    pub count: u32,
    /// Their median.
    pub median_duration: Duration,
}

impl TrackedJob {
    /// Nothing is weighed again before so much time has passed.
    const MIN_REEVALUATION_INTERVAL: Duration = Duration::from_secs(1);

    /// When it is asked next after an answer, at `now`, that it is not over.
    pub(super) fn next_due(&self, limits: JobLimits<'_>, now: ClockReading) -> MonotonicTime {
        let Some(learned) = limits.learned else {
            return now
                .monotonic
                .plus(limits.backoff.next_interval(self.polls_without_change, now.jitter));
        };
        self.age.time_at_age(self.plan_poll(learned).at)
    }

    fn plan_poll(&self, learned: LearnedPolicy<'_>) -> PlannedPoll {
        let distribution = self.distribution(learned.duration_history);
        learned.rule.plan_next_poll(
            &distribution,
            self.age.last_active_age(),
            self.age.verified_age(),
        )
    }

    /// What a request for it is worth at `now`.
    pub(super) fn priority(&self, learned: LearnedPolicy<'_>, now: MonotonicTime) -> Priority {
        let index = staleness_index(
            &self.distribution(learned.duration_history),
            self.age.last_active_age(),
            self.age.at(now),
        );
        Priority(index / learned.rule.price.as_secs_f64())
    }

    /// The same of one that was never asked: a guess from no past at all is worth nothing.
    pub(super) fn first_poll_priority(
        &self,
        learned: LearnedPolicy<'_>,
        now: MonotonicTime,
    ) -> Priority {
        if self.distribution(learned.duration_history).overall.has_enough_runs() {
            self.priority(learned, now)
        } else {
            Priority::MIN
        }
    }

    /// What it is worth with those that a page would answer for, too, if there is one.
    pub(super) fn evaluate(
        &self,
        learned: LearnedPolicy<'_>,
        page_priority: Option<Priority>,
        now: MonotonicTime,
    ) -> Evaluation {
        let priority = self.priority(learned, now).max(page_priority.unwrap_or(Priority::MIN));
        match self.phase {
            // It is not due by itself, and with the others not yet: staleness grows as the square.
            PollPhase::Waiting(due) if due > now && priority < Priority::JUST_DUE => {
                let extra_wait =
                    self.age.time_since_active(now) * ((1.0 / priority.0.max(1e-9)).sqrt() - 1.0);
                let wait = Duration::try_from_secs_f64(extra_wait).unwrap_or(Duration::MAX);
                Evaluation::NotBefore(now.plus(wait.max(Self::MIN_REEVALUATION_INTERVAL)).min(due))
            }
            PollPhase::Waiting(_) | PollPhase::Polling { .. } | PollPhase::Committing(_) => {
                Evaluation::Due(priority, Some(self.reevaluate_at(now)))
            }
        }
    }

    /// When its worth may have grown so much that it is to be looked at again.
    pub(super) fn reevaluate_at(&self, now: MonotonicTime) -> MonotonicTime {
        const SILENCE_GROWTH: f64 = 0.125;
        let growth = Duration::try_from_secs_f64(self.age.time_since_active(now) * SILENCE_GROWTH)
            .unwrap_or(Duration::MAX);
        now.plus(growth.max(Self::MIN_REEVALUATION_INTERVAL))
    }

    fn distribution<'a>(&self, history: &'a DurationHistory) -> Mixture<'a> {
        history.predict(&self.similarity_keys, self.age.duration_kind())
    }

    fn similar_runs(&self, history: &DurationHistory) -> Option<SimilarRunsSummary> {
        let runs = history.similar_runs(&self.similarity_keys, self.age.duration_kind())?;
        let median = Duration::try_from_secs_f64(runs.estimate.median()).ok()?;
        Some(SimilarRunsSummary {
            similarity_key: runs.similarity_key.to_owned(),
            count: runs.estimate.runs(),
            median_duration: median,
        })
    }

    /// The time until it is over by as much chance as not.
    fn expected_remaining(
        &self,
        history: &DurationHistory,
        now: MonotonicTime,
    ) -> Option<Duration> {
        const OUTLIVED_PROBABILITY: f64 = 0.99;
        let (distribution, age) = (self.distribution(history), self.age.at(now));
        if distribution.similar?.cdf_at(self.age.last_active_age()).probability
            > OUTLIVED_PROBABILITY
        {
            return None;
        }
        let finished_chance = distribution.cdf_at(self.age.last_active_age()).probability;
        let target_chance = f64::midpoint(finished_chance, 1.0);
        let (mut low, mut high) =
            (self.age.last_active_age(), 2.0 * self.age.last_active_age().max(1.0));
        while distribution.cdf_at(high).probability < target_chance {
            (low, high) = (high, 2.0 * high);
            if high > JobAge::MAX_PLAUSIBLE.as_secs_f64() {
                return None;
            }
        }
        while high - low > 0.01 * high {
            let middle = f64::midpoint(low, high);
            if distribution.cdf_at(middle).probability < target_chance {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(Duration::try_from_secs_f64(high - age).unwrap_or(Duration::ZERO))
    }

    fn forecast(&self, queue: &ProviderQueue, now: MonotonicTime) -> PollForecast {
        let next_poll = match &self.phase {
            PollPhase::Waiting(due) if *due <= now => {
                NextPollTime::Overdue(now.duration_since(*due))
            }
            PollPhase::Waiting(due) => NextPollTime::In(due.duration_since(now)),
            PollPhase::Polling { .. } | PollPhase::Committing(_) => NextPollTime::InProgress,
        };
        let learned = queue.limits().learned;
        let reason = match learned {
            _ if self.polls == 0 => ForecastReason::FirstPoll,
            None => ForecastReason::Backoff,
            // It gave no answer: then pauses grow whatever the past says.
            Some(_) if self.polls_without_change > 0 => ForecastReason::Backoff,
            Some(learned) => match self.plan_poll(learned).reason {
                PollReason::Price => ForecastReason::Price(learned.rule.price),
                PollReason::MaxWait => ForecastReason::MaxWait,
            },
        };
        // What took how long is remembered whatever the rule is.
        let (similar_runs, expected_remaining) = (
            self.similar_runs(&queue.duration_history),
            self.expected_remaining(&queue.duration_history, now),
        );
        PollForecast { next_poll, reason, similar_runs, expected_remaining }
    }
}

impl Tracker {
    /// What the past says of this job; none if it is not held, or over.
    #[must_use]
    pub fn forecast(&self, job: JobId, now: MonotonicTime) -> Option<PollForecast> {
        let tracked = self.jobs.get(&job)?;
        let finished = State::is_terminal(tracked.current_state.state);
        (!finished).then(|| tracked.forecast(&self.queues[tracked.provider_index.0], now))
    }
}
