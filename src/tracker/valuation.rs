//! The value of polling one job: when its next poll is due, its priority among due jobs, and when to
//! evaluate the priority again.
//!
//! Called by the queue of a provider and after each answer. The functions change nothing.
//! [`super::forecast`] describes their results to a person.

use std::time::Duration;

use crate::job::{ClockReading, MonotonicTime};
use crate::policy::{
    DurationHistory, LearnedPolicySettings, PlannedPoll, Prediction, staleness_index,
};

use super::due_queue::{Evaluation, Priority};
use super::job::TrackedJob;
use super::job_policy::{JobPolicy, LearnedPolicy};
use super::price_in_force::SpareBudget;

/// The next poll of an unfinished job.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextPoll {
    /// When the job is due.
    pub(super) due: MonotonicTime,
    /// When it will probably be polled: before it is due where the account has requests left.
    pub(super) expected: MonotonicTime,
}

impl TrackedJob {
    const MIN_REEVALUATION_INTERVAL: Duration = Duration::from_secs(1);

    /// When an unfinished job is due after a successful answer at `now`, and when the poll is expected.
    pub(super) fn next_poll(&self, policy: JobPolicy<'_>, now: ClockReading) -> NextPoll {
        let Some(learned) = policy.learned else {
            let interval =
                policy.backoff.next_interval(self.polls_without_change.into(), now.jitter);
            let due = now.monotonic.plus(interval);
            return NextPoll { due, expected: due };
        };
        let prediction = self.predict(learned.duration_history);
        let due = self.age.time_at_age(self.plan_poll(learned, &prediction).age);
        let spare_poll = self.expected_spare_poll(policy, &prediction, due);
        NextPoll { due, expected: spare_poll.unwrap_or(due) }
    }

    /// The next poll by the present price, at `now` at the earliest; none if the price does not decide when the
    /// job is due.
    pub(super) fn next_poll_by_price(
        &self,
        policy: JobPolicy<'_>,
        now: ClockReading,
    ) -> Option<NextPoll> {
        policy.learned.filter(|_| self.was_answered())?;
        let NextPoll { due, expected } = self.next_poll(policy, now);
        Some(NextPoll { due: due.max(now.monotonic), expected: expected.max(now.monotonic) })
    }

    pub(super) fn plan_poll(
        &self,
        learned: LearnedPolicy<'_>,
        prediction: &Prediction<'_>,
    ) -> PlannedPoll {
        self.rule(learned).plan_next_poll(
            prediction,
            self.age.last_active_age(),
            self.age.verified_age(),
        )
    }

    /// The priority of a poll at `now`, whether or not the job is due.
    pub(super) fn priority(&self, learned: LearnedPolicy<'_>, now: MonotonicTime) -> Priority {
        self.predicted_priority(learned, &self.predict(learned.duration_history), now)
    }

    fn predicted_priority(
        &self,
        learned: LearnedPolicy<'_>,
        prediction: &Prediction<'_>,
        now: MonotonicTime,
    ) -> Priority {
        let index = staleness_index(prediction, self.age.last_active_age(), self.age.at(now));
        Priority(index / self.rule(learned).price.of_due_polls().as_secs_f64())
    }

    /// The priority of a job that was never polled. Without past runs of the provider a prediction is
    /// only a guess, and the priority is the lowest.
    pub(super) fn first_poll_priority(
        &self,
        learned: LearnedPolicy<'_>,
        now: MonotonicTime,
    ) -> Priority {
        if learned.duration_history.has_enough_runs(self.age.duration_kind()) {
            self.priority(learned, now)
        } else {
            Priority::MIN
        }
    }

    /// Evaluates a job that was polled before. `own_priority` is that of its own poll at `now`, and `page_priority` that
    /// of the best list page that includes the job.
    pub(super) fn evaluate(
        &self,
        own_priority: Priority,
        page_priority: Option<Priority>,
        now: MonotonicTime,
    ) -> Evaluation {
        let priority = own_priority.max(page_priority.unwrap_or(Priority::MIN));
        match self.phase().due() {
            // Not due individually, and a page has a low priority so far. The expected staleness
            // grows with the square of the time since the last answer, which gives the next attempt.
            Some(due) if due > now && priority < Priority::JUST_DUE => {
                let extra_wait =
                    self.age.time_since_active(now) * ((1.0 / priority.0.max(1e-9)).sqrt() - 1.0);
                let wait = Duration::try_from_secs_f64(extra_wait).unwrap_or(Duration::MAX);
                Evaluation::NotBefore(now.plus(wait.max(Self::MIN_REEVALUATION_INTERVAL)).min(due))
            }
            Some(_) | None => Evaluation::Due(priority, Some(self.reevaluate_at(now))),
        }
    }

    /// From when a job that is due at `due` may be polled before; none if it may not.
    pub(super) fn earliest_spare_poll(
        &self,
        policy: JobPolicy<'_>,
        due: MonotonicTime,
    ) -> Option<MonotonicTime> {
        let learned = policy.learned.filter(|_| self.was_answered())?;
        let age = self.rule(learned).earliest_spare_age(self.age.last_active_age())?;
        Some(self.age.time_at_age(age)).filter(|at| *at < due)
    }

    /// When a job that is due at `due` is expected to be polled before; none if it is not.
    pub(super) fn expected_spare_poll(
        &self,
        policy: JobPolicy<'_>,
        prediction: &Prediction<'_>,
        due: MonotonicTime,
    ) -> Option<MonotonicTime> {
        let SpareBudget { price_in_force, available_at } = policy.spare_budget;
        let available_at = available_at?;
        self.earliest_spare_poll(policy, due)?;
        let learned = policy.learned?;
        let index = price_in_force * self.rule(learned).price.of_due_polls().as_secs_f64();
        let index = index.max(LearnedPolicySettings::MIN_SPARE_INDEX);
        let at = self.spare_poll_time(learned, prediction, index, due)?;
        Some(at.max(available_at)).filter(|at| *at < due)
    }

    /// When the job may be polled and its index is at least `index`, in seconds; none if it is due before.
    fn spare_poll_time(
        &self,
        learned: LearnedPolicy<'_>,
        prediction: &Prediction<'_>,
        index: f64,
        due: MonotonicTime,
    ) -> Option<MonotonicTime> {
        let age = self.rule(learned).spare_poll_age(
            prediction,
            self.age.last_active_age(),
            index,
            self.age.at(due),
        )?;
        Some(self.age.time_at_age(age))
    }

    /// Evaluates a job that may be polled before it is due, by a request that answers for `jobs_per_request` jobs.
    /// Far below the price in force the job waits without being evaluated again.
    pub(super) fn evaluate_spare(
        &self,
        learned: LearnedPolicy<'_>,
        price_in_force: f64,
        jobs_per_request: f64,
        now: MonotonicTime,
    ) -> Evaluation {
        /// The price in force is an average over recent polls: after most jobs have ended it is too high for a while.
        const ADMISSION_FRACTION: f64 = 0.1;
        let min_index = LearnedPolicySettings::MIN_SPARE_INDEX / jobs_per_request;
        let price = self.rule(learned).price.of_due_polls().as_secs_f64();
        let admission_price = min_index.max(ADMISSION_FRACTION * price_in_force * price);
        let prediction = self.predict(learned.duration_history);
        let priority = self.predicted_priority(learned, &prediction, now);
        let index = priority.0 * price;
        match self.phase().due().filter(|due| *due > now && index < admission_price) {
            Some(due) => {
                let admitted_at = self.spare_poll_time(learned, &prediction, admission_price, due);
                let next_millisecond = now.plus(Duration::from_millis(1));
                Evaluation::NotBefore(admitted_at.unwrap_or(due).max(next_millisecond))
            }
            None => Evaluation::Due(priority, Some(self.reevaluate_at(now))),
        }
    }

    /// When the priority may have grown enough to change the order of due jobs.
    pub(super) fn reevaluate_at(&self, now: MonotonicTime) -> MonotonicTime {
        /// The growth of the time since the last answer after which a job is evaluated again.
        const GROWTH: f64 = 0.125;
        let growth = Duration::try_from_secs_f64(self.age.time_since_active(now) * GROWTH)
            .unwrap_or(Duration::MAX);
        now.plus(growth.max(Self::MIN_REEVALUATION_INTERVAL))
    }

    /// Whether the last poll succeeded. After a failed poll, the intervals grow.
    fn was_answered(&self) -> bool {
        self.polls > 0 && self.polls_without_change == 0
    }

    /// The settings of the learned policy for this job.
    pub(super) fn rule(&self, learned: LearnedPolicy<'_>) -> LearnedPolicySettings {
        learned.rule_with(self.own_price())
    }

    /// Predicts the job's duration.
    pub(super) fn predict<'a>(&self, history: &'a DurationHistory) -> Prediction<'a> {
        history.predict(&self.similarity_keys, self.age.start())
    }
}
