//! The candidates of one provider for the next request.
//!
//! Called by [`super::select`] for each provider that may send a request; `provider_choice.rs` chooses
//! among them. Nothing is removed from the queue here.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::job::{JobId, MonotonicTime, UtcTime};

use super::account::ProviderAccount;
use super::breaker::JobStanding;
use super::due_queue::{DueQueue, Evaluation, Priority};
use super::job::TrackedJob;
use super::job_policy::LearnedPolicy;
use super::job_table::JobTable;
use super::list_batch::PageCandidate;
use super::message::ProviderIndex;
use super::provider_choice::{ProbeJob, ProviderCandidates, UrgentRequest};
use super::provider_queue::ProviderQueue;

/// The priorities of jobs at one time, each computed once: the pages of neighboring jobs have most jobs in common.
#[derive(Debug, Default)]
pub(super) struct PriorityCache(RefCell<BTreeMap<JobId, Priority>>);

impl PriorityCache {
    /// The priority of a poll of `job` at `now`, a time that must be the same at each call.
    fn priority(
        &self,
        job: &TrackedJob,
        learned: LearnedPolicy<'_>,
        now: MonotonicTime,
    ) -> Priority {
        *self.0.borrow_mut().entry(job.id).or_insert_with(|| job.priority(learned, now))
    }
}

impl ProviderQueue {
    pub(super) fn candidates(
        &mut self,
        provider_index: ProviderIndex,
        account: &ProviderAccount,
        jobs: &JobTable,
        now: MonotonicTime,
    ) -> ProviderCandidates {
        self.promote_due(jobs, now);
        let is_regular_ready = self.poll_ready_at(account, JobStanding::Regular) <= now;
        let is_rejected_ready = self.poll_ready_at(account, JobStanding::Rejected) <= now;
        let needs_probe = self.needs_probe(account);
        let heads = |allowed: bool, queue: &DueQueue| if allowed { queue.heads() } else { None };
        ProviderCandidates {
            provider_index,
            last_selected: self.last_selected,
            urgent: self.urgent_request(account, now),
            probe: if is_regular_ready && needs_probe { self.probe_job() } else { None },
            first_polls: heads(is_regular_ready && !needs_probe, &self.first_polls),
            repeat_polls: heads(is_regular_ready && !needs_probe, &self.repeat_polls),
            rejected_polls: heads(is_rejected_ready, &self.rejected_polls),
        }
    }

    fn urgent_request(
        &self,
        account: &ProviderAccount,
        now: MonotonicTime,
    ) -> Option<UrgentRequest> {
        if let Some(job) = self.ready_on_demand_poll(account, now) {
            Some(UrgentRequest::OnDemandPoll(job))
        } else if self.can_send_cancel() {
            Some(UrgentRequest::Cancel)
        } else if self.check_gate.is_waiting() {
            Some(UrgentRequest::ConnectionCheck)
        } else if self.list_batcher.has_continuation()
            && self.poll_ready_at(account, JobStanding::Regular) <= now
        {
            Some(UrgentRequest::Continuation)
        } else {
            None
        }
    }

    /// The job whose answer tells most about the credentials. A service that rejects one id often rejects
    /// those that were added with it: among jobs that were never polled, a distant one is taken.
    fn probe_job(&self) -> Option<ProbeJob> {
        let polled = self.repeat_polls.first_due_job().map(|(_, job)| (job, true));
        let (job, was_polled) =
            polled.or_else(|| self.first_polls.spread_job().map(|job| (job, false)))?;
        Some(ProbeJob { job, was_polled })
    }

    /// Evaluates the jobs that have become due.
    fn promote_due(&mut self, jobs: &JobTable, now: MonotonicTime) {
        self.rejected_polls.promote_due(now, |_| Evaluation::Due(Priority::REJECTED, None));
        if !self.first_polls.needs_promotion(now) && !self.repeat_polls.needs_promotion(now) {
            return;
        }
        let (mut first_polls, mut repeat_polls) =
            (std::mem::take(&mut self.first_polls), std::mem::take(&mut self.repeat_polls));
        let learned = self.job_policy().learned;
        let priorities = PriorityCache::default();
        let evaluate =
            |job,
             default_priority,
             evaluate_learned: &dyn Fn(&TrackedJob, LearnedPolicy<'_>) -> Evaluation| {
                match (learned, jobs.get(job)) {
                    (Some(learned), Some(tracked)) => evaluate_learned(tracked, learned),
                    (None, _) | (_, None) => Evaluation::Due(default_priority, None),
                }
            };
        first_polls.promote_due(now, |job| {
            evaluate(job, Priority::JUST_DUE, &|tracked, learned| {
                Evaluation::Due(
                    tracked.first_poll_priority(learned, now),
                    Some(tracked.reevaluate_at(now)),
                )
            })
        });
        repeat_polls.promote_due(now, |job| {
            evaluate(job, Priority::JUST_DUE, &|tracked, learned| {
                let list_time = tracked.batchable_list_time();
                let page = self.best_list_page(job, list_time, jobs, &priorities, now);
                let own_priority = priorities.priority(tracked, learned, now);
                tracked.evaluate(own_priority, page.map(|page| Priority(page.priority)), now)
            })
        });
        (self.first_polls, self.repeat_polls) = (first_polls, repeat_polls);
    }

    /// The list page to request instead of polling this job, if the page has a sufficiently higher
    /// priority. `priorities` are those at `now`.
    pub(super) fn best_list_page(
        &self,
        job: JobId,
        list_time: Option<UtcTime>,
        jobs: &JobTable,
        priorities: &PriorityCache,
        now: MonotonicTime,
    ) -> Option<PageCandidate> {
        /// Under the backoff policy, a job that is due within this part of the longest interval counts
        /// as due.
        const NEARLY_DUE_DIVISOR: f64 = 10.0;
        /// Under the backoff policy, a page must save at least one request.
        const MIN_DUE_JOBS_PER_PAGE: f64 = 2.0;
        /// Under the learned policy, the priority of a page must exceed the job's own by this factor.
        const MIN_PRIORITY_GAIN: f64 = 1.1;
        let list_time = list_time.filter(|_| self.can_list())?;
        let policy = self.job_policy();
        let nearly_due = now.plus(policy.backoff.max.div_f64(NEARLY_DUE_DIVISOR));
        let due_and_priority = |job| {
            let Some(tracked) = jobs.get(job) else { return (now, 0.0) };
            let due = tracked.phase().due().unwrap_or(now);
            let priority = match policy.learned {
                Some(learned) => priorities.priority(tracked, learned, now).0,
                None if due <= nearly_due => 1.0,
                None => 0.0,
            };
            (due, priority)
        };
        let min_priority = match policy.learned {
            Some(_) => MIN_PRIORITY_GAIN * due_and_priority(job).1,
            None => MIN_DUE_JOBS_PER_PAGE,
        };
        self.list_batcher.best_page((list_time, job), now, due_and_priority, min_priority)
    }
}
