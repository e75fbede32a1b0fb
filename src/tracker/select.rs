//! Selects the next request once an account may send one: what a person ordered first, then started
//! list requests, then the job with the highest priority; after a rejection, a job that shows whether
//! the credentials are rejected.
//!
//! Two rules bound that order. While first polls and repeat polls compete, at least one request in four is a first
//! poll, so that a wrong id is noticed early. After a time without first polls up to ten come first, and while the rate
//! limiter has credit for a burst all do. Where nothing but the due times orders the polls (policy `backoff`), at least
//! one request in four is a repeat poll.
//! And no job waits for ever: a starved job ([`starvation_cutoff`]) is polled before the job with the highest
//! priority. If nothing else may be sent, a request that the account has left is spent on a job that is not due
//! (`spare_polls.rs`).

use std::cmp::Reverse;

use crate::job::{JobId, ListPageQuery, MonotonicTime};

use super::account::Precedence;
use super::candidates::PriorityCache;
use super::due_queue::{Evaluation, Priority};
use super::job_table::JobTable;
use super::message::{AccountIndex, ExpectedJob, ProviderIndex};
use super::phase::AnswerUse;
use super::provider_choice::{ProviderChoice, UrgentRequest, choose_provider, starvation_cutoff};
use super::provider_queue::ProviderQueue;
use super::registry::Tracker;

/// The request to send next.
#[derive(Debug)]
pub(super) enum NextRequest {
    /// A poll of one job.
    Poll {
        job: JobId,
        on_demand: bool,
    },
    /// A list page for several jobs.
    List(ListPageQuery, Vec<ExpectedJob>),
    /// The cancel request for a job.
    Cancel(JobId),
    ConnectionCheck,
}

/// The choice among the providers of an account.
#[derive(Debug)]
struct AccountChoice {
    choice: ProviderChoice,
    /// None unless both first polls and repeat polls were due.
    precedence: Option<Precedence>,
}

impl ProviderQueue {
    /// Removes the jobs of the next request from the queue; none if the chosen job need not be polled
    /// yet.
    fn take_request(
        &mut self,
        choice: ProviderChoice,
        jobs: &JobTable,
        now: MonotonicTime,
    ) -> Option<NextRequest> {
        let job = match choice {
            ProviderChoice::Urgent(_, request) => return self.take_urgent_request(request),
            ProviderChoice::Probe(_, job) => {
                self.dequeue(job, jobs.get(job).and_then(|tracked| tracked.list_time));
                return Some(NextRequest::Poll { job, on_demand: false });
            }
            ProviderChoice::Job(_, job) | ProviderChoice::Spare(_, job) => job,
        };
        self.spare_polls.remove(job);
        if self.rejected_polls.remove(job).is_some() {
            return Some(NextRequest::Poll { job, on_demand: false });
        }
        self.first_polls.remove(job);
        self.repeat_polls.remove(job);
        let tracked = jobs.get(job)?;
        let list_time = tracked.batchable_list_time();
        let page = self.best_list_page(job, list_time, jobs, &PriorityCache::default(), now);
        let page_priority = page.as_ref().map(|page| Priority(page.priority));
        if let ProviderChoice::Job(..) = choice
            && let Some(learned) = self.job_policy().learned
            && let Evaluation::NotBefore(at) =
                tracked.evaluate(tracked.priority(learned, now), page_priority, now)
        {
            // The job was due only as part of a page, whose other jobs were polled meanwhile.
            self.repeat_polls.insert(job, at);
            if let Some(due) = tracked.phase().due() {
                self.enqueue_spare(tracked, due);
            }
            return None;
        }
        if let Some(page) = page {
            let jobs = page.jobs.into_iter().map(|listed| {
                self.list_batcher.remove(listed.list_time, listed.job);
                self.repeat_polls.remove(listed.job);
                self.spare_polls.remove(listed.job);
                ExpectedJob { job: listed.job, due: listed.due }
            });
            return Some(NextRequest::List(page.query, jobs.collect()));
        }
        if let Some(list_time) = list_time {
            self.list_batcher.remove(list_time, job);
        }
        Some(NextRequest::Poll { job, on_demand: false })
    }

    fn take_urgent_request(&mut self, request: UrgentRequest) -> Option<NextRequest> {
        match request {
            UrgentRequest::OnDemandPoll(job) => {
                self.on_demand_polls.retain(|waiting| *waiting != job);
                Some(NextRequest::Poll { job, on_demand: true })
            }
            UrgentRequest::Cancel => self.waiting_cancels.pop_front().map(NextRequest::Cancel),
            UrgentRequest::ConnectionCheck => Some(NextRequest::ConnectionCheck),
            UrgentRequest::Continuation => {
                let (query, jobs) = self.list_batcher.pop_continuation()?;
                Some(NextRequest::List(query, jobs))
            }
        }
    }
}

impl Tracker {
    /// Selects the next request and records it as sent; none if no request may be sent now.
    pub(super) fn select_next(
        &mut self,
        now: MonotonicTime,
    ) -> Option<(ProviderIndex, NextRequest)> {
        for account_index in (0..self.accounts.len()).map(AccountIndex) {
            while let Some(AccountChoice { choice, precedence }) =
                self.choose_for_account(account_index, now)
            {
                let provider_index = choice.provider_index();
                let queue = &mut self.queues[provider_index.position()];
                let Some(mut request) = queue.take_request(choice, &self.jobs, now) else {
                    continue;
                };
                if let NextRequest::List(_, jobs) = &mut request {
                    jobs.retain(|expected| self.keep_on_page(expected.job, now));
                }
                let queue = &mut self.queues[provider_index.position()];
                match &request {
                    NextRequest::Poll { job, .. } if self.jobs.contains(*job) => {
                        queue.start_request(*job, now);
                    }
                    // The job has left the queue and is not chosen again.
                    NextRequest::Poll { .. } => continue,
                    NextRequest::List(_, jobs) => match jobs.first() {
                        Some(first) => queue.start_request(first.job, now),
                        None => continue,
                    },
                    NextRequest::Cancel(job) => queue.cancel_in_flight = Some((*job, now)),
                    NextRequest::ConnectionCheck => queue.check_gate.start(now),
                }
                self.selection_count += 1;
                queue.last_selected = self.selection_count;
                self.record_sent(account_index, choice, precedence, now);
                return Some((provider_index, request));
            }
        }
        None
    }

    /// Records at the account what a request that is sent now means for those after it.
    fn record_sent(
        &mut self,
        account_index: AccountIndex,
        choice: ProviderChoice,
        precedence: Option<Precedence>,
        now: MonotonicTime,
    ) {
        let account = &mut self.accounts[account_index.0];
        match choice {
            ProviderChoice::Urgent(_, request) => {
                if request.is_ordered_by_person() {
                    account.rate_limiter.use_reserve(now);
                }
            }
            ProviderChoice::Probe(provider_index, _) => {
                self.queues[provider_index.position()].breaker.record_probe_sent();
                account.breaker.record_probe_sent();
            }
            ProviderChoice::Job(_, job) | ProviderChoice::Spare(_, job) => {
                let is_first_poll = self.jobs.get(job).is_some_and(|tracked| tracked.polls == 0);
                if is_first_poll {
                    account.rate_limiter.use_reserve(now);
                }
                if let Some(precedence) = precedence {
                    account.count_competing_poll(is_first_poll, precedence);
                }
                let queues =
                    self.queues.iter().filter(|queue| queue.account_index == account_index);
                let waiting = queues.map(|queue| queue.highest_waiting_priority(account, now));
                let limit = account.rate_limiter.current_limit();
                account.price_in_force.record(waiting.fold(0.0, f64::max), limit, now);
            }
        }
        account.count_request(now);
    }

    /// The best candidate of the account for a spare poll.
    fn choose_spare(
        &mut self,
        account_index: AccountIndex,
        now: MonotonicTime,
    ) -> Option<ProviderChoice> {
        let account = &self.accounts[account_index.0];
        let queues = queues_of_account(&mut self.queues, account_index);
        let candidates = queues.filter_map(|(provider_index, queue)| {
            let head = queue.spare_candidate(account, &self.jobs, now)?;
            Some((provider_index, head, queue.last_selected))
        });
        let (provider_index, head, _) = candidates
            .max_by_key(|(_, head, last_selected)| (head.priority, Reverse(*last_selected)))?;
        Some(ProviderChoice::Spare(provider_index, head.job))
    }

    /// Whether a list page may be requested for this job. Between two pages of a list request the job may
    /// have been untracked: this function then ends its poll, because no answer will.
    fn keep_on_page(&mut self, job: JobId, now: MonotonicTime) -> bool {
        let Some(tracked) = self.jobs.get_mut(job) else { return false };
        if tracked.can_start_poll() {
            return true;
        }
        if tracked.end_poll(now) == AnswerUse::RemoveJob {
            self.remove_job(job);
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
        for (provider_index, queue) in queues_of_account(&mut self.queues, account_index) {
            active_jobs += queue.active_jobs;
            if queue.ready_at(account).is_some_and(|ready_at| ready_at <= now) {
                candidates.push(queue.candidates(provider_index, account, &self.jobs, now));
            }
        }
        let is_contested = candidates.iter().any(|candidate| candidate.first_polls.is_some())
            && candidates.iter().any(|candidate| candidate.repeat_polls.is_some())
            && !candidates.iter().any(|candidate| candidate.urgent.is_some());
        let precedence = is_contested.then(|| account.precedence(now));
        let cutoff = starvation_cutoff(account, active_jobs, now);
        let choice = choose_provider(&candidates, precedence, cutoff)
            .or_else(|| self.choose_spare(account_index, now))?;
        Some(AccountChoice { choice, precedence })
    }
}

fn queues_of_account(
    queues: &mut [ProviderQueue],
    account_index: AccountIndex,
) -> impl Iterator<Item = (ProviderIndex, &mut ProviderQueue)> {
    let queues = queues.iter_mut().enumerate();
    queues
        .filter(move |(_, queue)| queue.account_index == account_index)
        .map(|(index, queue)| (ProviderIndex::new(index), queue))
}
