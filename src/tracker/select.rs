//! Selects the next poll once an account may send a request: polls on demand first, then started
//! list requests, then the job with the highest priority.
//!
//! Two rules bound that order. While first polls and repeat polls compete, one selection in four is a
//! first poll, so that a wrong id is noticed early. And no job waits for ever: a starved job
//! ([`starvation_cutoff`]) is polled before the job with the highest priority.

use std::collections::HashMap;

use crate::job::{JobId, ListPageQuery, MonotonicTime, UtcTime};

use super::due_queue::{Evaluation, Priority};
use super::job::TrackedJob;
use super::job_policy::LearnedPolicy;
use super::list_batch::PageCandidate;
use super::message::{AccountIndex, ExpectedJob, ProviderIndex};
use super::phase::AnswerUse;
use super::provider_choice::{
    ProviderCandidates, ProviderChoice, choose_provider, starvation_cutoff,
};
use super::provider_queue::ProviderQueue;
use super::registry::Tracker;

/// The request to send next.
#[derive(Debug)]
pub(super) enum NextRequest {
    /// A poll of one job.
    Poll { job: JobId, on_demand: bool },
    /// A list page for several jobs.
    List(ListPageQuery, Vec<ExpectedJob>),
}

/// The choice among the providers of an account.
#[derive(Debug)]
struct AccountChoice {
    choice: ProviderChoice,
    /// Whether first polls and repeat polls competed.
    is_contested: bool,
}

impl NextRequest {
    fn first_job(&self) -> Option<JobId> {
        match self {
            Self::Poll { job, .. } => Some(*job),
            Self::List(_, jobs) => jobs.first().map(|expected| expected.job),
        }
    }
}

impl ProviderQueue {
    fn candidates(
        &mut self,
        provider_index: ProviderIndex,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> ProviderCandidates {
        self.promote_due(jobs, now);
        ProviderCandidates {
            provider_index,
            last_selected: self.last_selected,
            has_on_demand: !self.on_demand_polls.is_empty(),
            has_continuation: self.list_batcher.has_continuation(),
            first_polls: self.first_polls.heads(),
            repeat_polls: self.repeat_polls.heads(),
        }
    }

    /// Evaluates the jobs that have become due.
    fn promote_due(&mut self, jobs: &HashMap<JobId, TrackedJob>, now: MonotonicTime) {
        let (mut first_polls, mut repeat_polls) =
            (std::mem::take(&mut self.first_polls), std::mem::take(&mut self.repeat_polls));
        let learned = self.job_policy().learned;
        let evaluate =
            |job,
             default_priority,
             evaluate_learned: &dyn Fn(&TrackedJob, LearnedPolicy<'_>) -> Evaluation| {
                match (learned, jobs.get(&job)) {
                    (Some(learned), Some(tracked)) => evaluate_learned(tracked, learned),
                    (None, _) | (_, None) => Evaluation::Due(default_priority, None),
                }
            };
        // Without learned durations, first polls get only the selections reserved for them.
        first_polls.promote_due(now, |job| {
            evaluate(job, Priority::MIN, &|tracked, learned| {
                Evaluation::Due(
                    tracked.first_poll_priority(learned, now),
                    Some(tracked.reevaluate_at(now)),
                )
            })
        });
        repeat_polls.promote_due(now, |job| {
            evaluate(job, Priority::JUST_DUE, &|tracked, learned| {
                let page = self.best_list_page(job, tracked.batchable_list_time(), jobs, now);
                tracked.evaluate(learned, page.map(|page| Priority(page.priority)), now)
            })
        });
        (self.first_polls, self.repeat_polls) = (first_polls, repeat_polls);
    }

    /// Removes the jobs of the next request from the queue; none if the chosen job need not be polled
    /// yet.
    fn take_request(
        &mut self,
        choice: ProviderChoice,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> Option<NextRequest> {
        let job = match choice {
            ProviderChoice::OnDemand(_) => {
                let job = self.on_demand_polls.pop_front()?;
                return Some(NextRequest::Poll { job, on_demand: true });
            }
            ProviderChoice::Continuation(_) => {
                let (query, jobs) = self.list_batcher.pop_continuation()?;
                return Some(NextRequest::List(query, jobs));
            }
            ProviderChoice::Job(_, job) => job,
        };
        self.first_polls.remove(job);
        self.repeat_polls.remove(job);
        let tracked = jobs.get(&job)?;
        let list_time = tracked.batchable_list_time();
        let page = self.best_list_page(job, list_time, jobs, now);
        if let Some(learned) = self.job_policy().learned
            && let Evaluation::NotBefore(at) =
                tracked.evaluate(learned, page.as_ref().map(|page| Priority(page.priority)), now)
        {
            // The job was due only as part of a page, whose other jobs were polled meanwhile.
            self.repeat_polls.insert(job, at);
            return None;
        }
        if let Some(page) = page {
            let jobs = page.jobs.into_iter().map(|listed| {
                self.list_batcher.remove(listed.list_time, listed.job);
                self.repeat_polls.remove(listed.job);
                ExpectedJob { job: listed.job, due: listed.due }
            });
            return Some(NextRequest::List(page.query, jobs.collect()));
        }
        if let Some(list_time) = list_time {
            self.list_batcher.remove(list_time, job);
        }
        Some(NextRequest::Poll { job, on_demand: false })
    }

    /// The list page to request instead of polling this job, if the page has a sufficiently higher
    /// priority.
    fn best_list_page(
        &self,
        job: JobId,
        list_time: Option<UtcTime>,
        jobs: &HashMap<JobId, TrackedJob>,
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
        let Some(learned) = policy.learned else {
            let nearly_due = now.plus(policy.backoff.max.div_f64(NEARLY_DUE_DIVISOR));
            let priority = |_, due| if due <= nearly_due { 1.0 } else { 0.0 };
            return self.list_batcher.best_page(
                (list_time, job),
                now,
                priority,
                MIN_DUE_JOBS_PER_PAGE,
            );
        };
        let priority = |job| jobs.get(&job).map_or(0.0, |tracked| tracked.priority(learned, now).0);
        self.list_batcher.best_page(
            (list_time, job),
            now,
            |job, _| priority(job),
            MIN_PRIORITY_GAIN * priority(job),
        )
    }
}

impl Tracker {
    /// Selects the next request and records it as sent; none if no request may be sent now.
    pub(super) fn select_next(
        &mut self,
        now: MonotonicTime,
    ) -> Option<(ProviderIndex, NextRequest)> {
        for account_index in (0..self.accounts.len()).map(AccountIndex) {
            while let Some(AccountChoice { choice, is_contested }) =
                self.choose_for_account(account_index, now)
            {
                let provider_index = choice.provider_index();
                let queue = &mut self.queues[provider_index.0];
                let Some(mut request) = queue.take_request(choice, &self.jobs, now) else {
                    continue;
                };
                if let NextRequest::List(_, jobs) = &mut request {
                    jobs.retain(|expected| self.keep_on_page(expected.job, now));
                }
                let Some(first_job) = request.first_job() else { continue };
                let queue = &mut self.queues[provider_index.0];
                let account = &mut self.accounts[account_index.0];
                queue.start_request(account, first_job, now);
                if is_contested {
                    account.count_contested_selection();
                }
                self.selection_count += 1;
                queue.last_selected = self.selection_count;
                return Some((provider_index, request));
            }
        }
        None
    }

    /// Whether a list page may be requested for this job. Between two pages of a list request the job may
    /// have been untracked: this function then ends its poll, because no answer will.
    fn keep_on_page(&mut self, job: JobId, now: MonotonicTime) -> bool {
        let Some(tracked) = self.jobs.get_mut(&job) else { return false };
        if tracked.can_start_poll() {
            return true;
        }
        if tracked.end_poll(now) == AnswerUse::RemoveJob {
            self.jobs.remove(&job);
        }
        false
    }

    fn choose_for_account(
        &mut self,
        account_index: AccountIndex,
        now: MonotonicTime,
    ) -> Option<AccountChoice> {
        let account = &self.accounts[account_index.0];
        if account.ready_at()? > now {
            return None;
        }
        let mut candidates = Vec::new();
        let mut active_jobs = 0;
        let queues = self
            .queues
            .iter_mut()
            .enumerate()
            .filter(|(_, queue)| queue.account_index == account_index);
        for (index, queue) in queues {
            active_jobs += queue.active_jobs;
            if queue.ready_at(account).is_some_and(|ready_at| ready_at <= now) {
                candidates.push(queue.candidates(ProviderIndex(index), &self.jobs, now));
            }
        }
        let is_contested = candidates.iter().any(|candidate| candidate.first_polls.is_some())
            && candidates.iter().any(|candidate| candidate.repeat_polls.is_some())
            && !candidates
                .iter()
                .any(|candidate| candidate.has_on_demand || candidate.has_continuation);
        let first_poll_has_priority = is_contested && account.first_poll_has_priority();
        let cutoff = starvation_cutoff(account, active_jobs, now);
        let choice = choose_provider(&candidates, first_poll_has_priority, cutoff)?;
        Some(AccountChoice { choice, is_contested })
    }
}
