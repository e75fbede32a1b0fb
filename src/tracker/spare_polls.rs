//! Spare polls: polls of jobs that are not due, by requests that the account has left.
//!
//! [`super::select`] takes one when nothing else may be sent: the job with the highest staleness index. A job
//! that may be polled early waits in the queue `spare_polls` as well as in `repeat_polls`, and leaves both when
//! it is polled. The queue is evaluated only while a spare request may be sent, so that it costs nothing
//! where the budget is short. `src/policy/spare_poll.rs` says from when a job may be polled early.

use crate::job::MonotonicTime;

use super::account::ProviderAccount;
use super::breaker::JobStanding;
use super::due_queue::{DueJob, Evaluation};
use super::job::TrackedJob;
use super::job_table::JobTable;
use super::price_in_force::SpareBudget;
use super::provider_queue::ProviderQueue;

impl ProviderAccount {
    /// As a multiple of the price of each job.
    pub(super) fn price_in_force_at(&self, now: MonotonicTime) -> f64 {
        self.price_in_force.at(self.rate_limiter.current_limit(), now)
    }

    pub(super) fn spare_budget(&self, now: MonotonicTime) -> SpareBudget {
        SpareBudget {
            price_in_force: self.price_in_force_at(now),
            available_at: self.rate_limiter.next_spare_at(),
        }
    }
}

impl ProviderQueue {
    /// Lets a job that waits for a repeat poll be polled before it is due, at `due`, where the policy allows it.
    pub(super) fn enqueue_spare(&mut self, tracked: &TrackedJob, due: MonotonicTime) {
        if self.repeat_polls.contains(tracked.id)
            && let Some(at) = tracked.earliest_spare_poll(self.job_policy(), due)
        {
            self.spare_polls.insert(tracked.id, at);
        }
    }

    /// When a spare poll may be sent, if no job is due before; none if an answer must come first or no job may
    /// be polled early. The last of the requests that may be in flight is not for spare polls, and neither are
    /// requests to a service that may be failing.
    pub(super) fn spare_ready_at(&self, account: &ProviderAccount) -> Option<MonotonicTime> {
        let earliest = self.spare_polls.earliest_due()?;
        let max_in_flight = self.settings.as_ref()?.max_in_flight;
        let is_doubtful = self.breaker.is_doubtful()
            || account.breaker.is_doubtful()
            || self.outages.has_reached_threshold();
        if is_doubtful || self.in_flight_requests() + 1 >= max_in_flight.max(2) {
            return None;
        }
        let ready_at = self.ready_at(account)?.max(account.rate_limiter.next_spare_at()?);
        Some(earliest.max(ready_at).max(self.poll_ready_at(account, JobStanding::Regular)))
    }

    /// The best candidate for a spare poll; none if none may be sent now.
    pub(super) fn spare_candidate(
        &mut self,
        account: &ProviderAccount,
        jobs: &JobTable,
        now: MonotonicTime,
    ) -> Option<DueJob> {
        if self.spare_ready_at(account)? > now {
            return None;
        }
        let mut spare_polls = std::mem::take(&mut self.spare_polls);
        if let Some(learned) = self.job_policy().learned {
            let price_in_force = account.price_in_force_at(now);
            #[expect(clippy::cast_precision_loss, reason = "a page holds at most 100 jobs")]
            let page_jobs =
                if self.can_list() { self.list_batcher.batch_capacity(now) as f64 } else { 1.0 };
            spare_polls.promote_due(now, |job| match jobs.get(job) {
                Some(tracked) => {
                    let is_listed = tracked.batchable_list_time().is_some();
                    let jobs_per_request = if is_listed { page_jobs } else { 1.0 };
                    tracked.evaluate_spare(learned, price_in_force, jobs_per_request, now)
                }
                None => Evaluation::NotBefore(MonotonicTime::from_millis(u64::MAX)),
            });
        }
        self.spare_polls = spare_polls;
        Some(self.spare_polls.heads()?.highest_priority)
    }

    /// The highest priority among the jobs that could be polled now instead of another; zero if there is none. A
    /// job that is due has the priority of due polls at least, and so does a spare poll while none may be sent.
    pub(super) fn highest_waiting_priority(
        &self,
        account: &ProviderAccount,
        now: MonotonicTime,
    ) -> f64 {
        let is_ready = self.ready_at(account).is_some_and(|ready_at| ready_at <= now);
        if !is_ready || self.job_policy().learned.is_none() {
            return 0.0;
        }
        let due = self.repeat_polls.heads().map(|heads| heads.highest_priority.priority.0.max(1.0));
        let spare = if account.rate_limiter.has_spare_requests() {
            self.spare_polls.heads().map(|heads| heads.highest_priority.priority.0)
        } else {
            self.spare_polls.earliest_due().filter(|at| *at <= now).map(|_| 1.0)
        };
        due.into_iter().chain(spare).fold(0.0, f64::max)
    }
}
