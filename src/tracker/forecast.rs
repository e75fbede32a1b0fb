//! Describes the next poll and the expected end of one job to a person. Nothing here decides.
//!
//! Used for `jobtrack show` through the scheduler. The decisions are in [`super::valuation`].

use std::time::Duration;

use crate::job::{JobId, MonotonicTime};
use crate::policy::{Distribution, DurationHistory, PollReason, Prediction};

use super::account::ProviderAccount;
use super::age::JobAge;
use super::job::TrackedJob;
use super::phase::PollPhase;
use super::provider_queue::ProviderQueue;
use super::readiness::PauseOfJob;
use super::registry::Tracker;

#[derive(Debug, Clone, PartialEq)]
pub struct PollForecast {
    pub next_poll: NextPollTime,
    pub reason: ForecastReason,
    /// None if the job is polled when it is due.
    pub delay: Option<PollDelay>,
    /// None if the provider has no similar runs.
    pub similar_runs: Option<SimilarRunsSummary>,
    /// The median of the remaining time until the job ends. None without similar runs, or if nearly
    /// all of them were shorter than the job is now.
    pub expected_remaining: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextPollTime {
    /// A poll is in flight, or its result is being committed.
    InProgress,
    /// The job is not polled, because its provider is not configured.
    NotPlanned,
    /// The job has been due for this long and waits for a request.
    Overdue(Duration),
    /// After this time the job is polled, as far as is known.
    In(Duration),
}

/// What keeps a job waiting beyond its due time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollDelay {
    ProviderNotConfigured,
    /// A pause of the provider or of its account, or the time between two tries while polls fail.
    /// The reason is none if the rate limit that the provider reports is used up.
    Pause {
        reason: Option<String>,
    },
    /// A pause of the jobs that the provider rejects, while others are polled.
    JobPause {
        reason: Option<String>,
    },
    /// The rate limit of the account, which no other job waits for.
    RateLimit,
    /// So many polls of the provider are due, this one included.
    OtherPolls {
        due_polls: u64,
        requests_per_minute: u32,
    },
}

/// What determines the time of the next poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ForecastReason {
    /// The job was never polled.
    FirstPoll,
    Backoff,
    /// The account has requests left for a poll before the job is due.
    Spare,
    /// The expected detection delay reaches this price of a request.
    Price(Duration),
    /// The longest wait allowed for the job's age ends before the price is reached.
    MaxWait,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SimilarRunsSummary {
    /// The similarity key that the runs share with the job.
    pub similarity_key: String,
    pub count: u32,
    pub median_duration: Duration,
}

impl Tracker {
    /// The forecast for a job; none if the job is terminal or not tracked.
    #[must_use]
    pub fn forecast(&self, job: JobId, now: MonotonicTime) -> Option<PollForecast> {
        let tracked = self.job(job).filter(|tracked| !tracked.is_terminal())?;
        let queue = &self.queues[tracked.provider_index.position()];
        Some(tracked.forecast(queue, &self.accounts[queue.account_index.0], now))
    }
}

impl ProviderQueue {
    /// When a job is polled that is due then, and what keeps it waiting longer.
    fn next_poll_time(
        &self,
        account: &ProviderAccount,
        job: JobId,
        due: MonotonicTime,
        now: MonotonicTime,
    ) -> (NextPollTime, Option<PollDelay>) {
        let next_poll = |at: MonotonicTime| {
            if at > now {
                NextPollTime::In(at.duration_since(now))
            } else {
                NextPollTime::Overdue(now.duration_since(at))
            }
        };
        if self.settings.is_none() {
            return (NextPollTime::NotPlanned, Some(PollDelay::ProviderNotConfigured));
        }
        let standing = self.standing(job);
        let pauses_end = self
            .poll_ready_at(account, standing)
            .max(self.breaker.ready_at())
            .max(account.breaker.ready_at());
        if pauses_end > due.max(now) {
            let delay = match self.pause_of_job(account, job, now) {
                Some(PauseOfJob::Provider(pause)) => PollDelay::Pause { reason: pause.reason },
                Some(PauseOfJob::RejectedJobs(pause)) => {
                    PollDelay::JobPause { reason: pause.reason }
                }
                None => PollDelay::Pause {
                    reason: self.last_failed_poll.as_ref().map(|failed| failed.error.clone()),
                },
            };
            return (next_poll(pauses_end), Some(delay));
        }
        if let Some(at) = account.held_until(now).filter(|at| *at > due) {
            return (next_poll(at), Some(PollDelay::RateLimit));
        }
        let requests_per_minute = account.rate_limiter.limit_at(now);
        let due_polls = self.due_backlog(now).0 + u64::from(due > now);
        let delay = PollDelay::OtherPolls { due_polls, requests_per_minute };
        if due <= now && due_polls > 1 {
            return (next_poll(due), Some(delay));
        }
        let earlier_polls = self.polls_before_next_repeat_poll(now);
        let backlog_end = now.plus(time_of_polls(earlier_polls, requests_per_minute));
        if earlier_polls > 1 && backlog_end > due.max(now) {
            return (next_poll(backlog_end), Some(delay));
        }
        match account.rate_limiter.next_available_at() {
            Some(at) if at > due.max(now) => (next_poll(at), Some(PollDelay::RateLimit)),
            Some(_) | None => (next_poll(due), None),
        }
    }

    /// How many polls are sent before one of a job that will be due: the repeat polls that are due, and for three of
    /// them one first poll.
    fn polls_before_next_repeat_poll(&self, now: MonotonicTime) -> u64 {
        let repeat_polls = self.repeat_polls.count_due(now);
        repeat_polls + self.first_polls.count_due(now).min(repeat_polls / 3)
    }
}

/// How long the rate limit takes to let so many polls through.
fn time_of_polls(count: u64, requests_per_minute: u32) -> Duration {
    Duration::from_secs(count.saturating_mul(60) / u64::from(requests_per_minute.max(1)))
}

impl TrackedJob {
    fn forecast(
        &self,
        queue: &ProviderQueue,
        account: &ProviderAccount,
        now: MonotonicTime,
    ) -> PollForecast {
        let policy =
            queue.job_policy().with_spare_budget(self.own_price(), || account.spare_budget(now));
        let waits_until = self.phase().due().filter(|due| *due > now);
        // Durations are learned under either policy.
        let history = &queue.duration_history;
        let prediction = self.predict(history);
        let spare_poll =
            waits_until.and_then(|due| self.expected_spare_poll(policy, &prediction, due));
        let (next_poll, delay) = match self.phase() {
            PollPhase::Waiting { due } => {
                queue.next_poll_time(account, self.id, spare_poll.unwrap_or(*due), now)
            }
            PollPhase::InFlight { .. }
            | PollPhase::Committing(_)
            | PollPhase::CommittingDuringPoll(_)
            | PollPhase::FinishedDuringPoll => (NextPollTime::InProgress, None),
        };
        let reason = match policy.learned {
            _ if self.polls == 0 => ForecastReason::FirstPoll,
            _ if spare_poll.is_some() => ForecastReason::Spare,
            None => ForecastReason::Backoff,
            // After a failed poll the backoff applies under either policy.
            Some(_) if self.polls_without_change > 0 => ForecastReason::Backoff,
            Some(learned) => match self.plan_poll(learned, &prediction).reason {
                PollReason::Price => ForecastReason::Price(self.rule(learned).price.of_due_polls()),
                PollReason::MaxWait => ForecastReason::MaxWait,
            },
        };
        PollForecast {
            next_poll,
            reason,
            delay,
            similar_runs: self.similar_runs(history),
            expected_remaining: self.expected_remaining(&prediction, now),
        }
    }

    fn similar_runs(&self, history: &DurationHistory) -> Option<SimilarRunsSummary> {
        let runs = history.similar_runs(&self.similarity_keys, self.age.duration_kind())?;
        let median = Duration::try_from_secs_f64(runs.runs.median()?).ok()?;
        Some(SimilarRunsSummary {
            similarity_key: runs.similarity_key.to_owned(),
            count: runs.runs.count(),
            median_duration: median,
        })
    }

    /// The median of the remaining duration, given that the job has not ended so far. None without
    /// similar runs, or if the job has outlived nearly all of them.
    fn expected_remaining(
        &self,
        prediction: &Prediction<'_>,
        now: MonotonicTime,
    ) -> Option<Duration> {
        const OUTLIVED_PROBABILITY: f64 = 0.99;
        let age = self.age.at(now);
        if prediction.similar.as_ref()?.cdf_at(self.age.last_active_age()).probability
            > OUTLIVED_PROBABILITY
        {
            return None;
        }
        let finished_probability = prediction.cdf_at(self.age.last_active_age()).probability;
        let target_probability = f64::midpoint(finished_probability, 1.0);
        let (mut low, mut high) =
            (self.age.last_active_age(), 2.0 * self.age.last_active_age().max(1.0));
        while prediction.cdf_at(high).probability < target_probability {
            (low, high) = (high, 2.0 * high);
            if high > JobAge::MAX_PLAUSIBLE.as_secs_f64() {
                return None;
            }
        }
        while high - low > 0.01 * high {
            let middle = f64::midpoint(low, high);
            if prediction.cdf_at(middle).probability < target_probability {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(Duration::try_from_secs_f64(high - age).unwrap_or(Duration::ZERO))
    }
}
