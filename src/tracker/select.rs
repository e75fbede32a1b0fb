//! Selects the next poll once an account may send a request: polls on demand first, then started
//! list requests, then the job with the highest priority.
//!
//! Two rules bound that order. While first polls and repeat polls compete, one selection in four is a
//! first poll, so that a wrong id is noticed early. And no job waits for ever: a job that was passed
//! over for several rounds, each as many requests as there are jobs, goes first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::job::{JobId, ListWindow, MonotonicTime, UtcTime};

use super::account::ProviderAccount;
use super::due_queue::{Evaluation, Priority, QueueHead};
use super::job::TrackedJob;
use super::limits::LearnedPolicy;
use super::list_batch::{ListedJob, WaitingJob};
use super::message::{AccountIndex, ProviderIndex};
use super::provider_queue::ProviderQueue;
use super::registry::Tracker;

/// The request to send next.
#[derive(Debug)]
pub(super) enum Selection {
    /// A poll of one job.
    Poll { job: JobId, on_demand: bool },
    /// A list page for several jobs.
    List(ListWindow, Vec<WaitingJob>),
}

impl Selection {
    fn first_job(&self) -> Option<JobId> {
        match self {
            Self::Poll { job, .. } => Some(*job),
            Self::List(_, jobs) => jobs.first().map(|(job, _)| *job),
        }
    }
}

/// What a provider that may send a request has to offer.
#[derive(Debug, Clone, Copy)]
struct Candidates {
    provider_index: ProviderIndex,
    /// The number of the selection that last chose this provider.
    last_selected: u64,
    has_on_demand: bool,
    /// Whether a started list request has another page.
    has_continuation: bool,
    /// The due first poll with the highest priority, and the one that became due first.
    first_polls: Option<(QueueHead, QueueHead)>,
    /// The same for repeat polls.
    repeat_polls: Option<(QueueHead, QueueHead)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    OnDemand(ProviderIndex),
    Continuation(ProviderIndex),
    Job(ProviderIndex, JobId),
}

impl Pick {
    fn provider_index(self) -> ProviderIndex {
        match self {
            Self::OnDemand(index) | Self::Continuation(index) | Self::Job(index, _) => index,
        }
    }
}

/// Chooses among the providers of an account. Where nothing else decides, the provider that was not
/// selected for the longest time wins.
fn choose_pick(
    candidates: &[Candidates],
    first_poll_has_priority: bool,
    starvation_cutoff: Option<MonotonicTime>,
) -> Option<Pick> {
    let longest_unselected = |matches: fn(&Candidates) -> bool| {
        candidates
            .iter()
            .filter(|candidate| matches(candidate))
            .min_by_key(|candidate| candidate.last_selected)
    };
    if let Some(candidate) = longest_unselected(|candidate| candidate.has_on_demand) {
        return Some(Pick::OnDemand(candidate.provider_index));
    }
    if let Some(candidate) = longest_unselected(|candidate| candidate.has_continuation) {
        return Some(Pick::Continuation(candidate.provider_index));
    }
    let highest_priority = |queue_heads: fn(&Candidates) -> Option<(QueueHead, QueueHead)>| {
        let heads = candidates
            .iter()
            .filter_map(move |candidate| Some((candidate, queue_heads(candidate)?.0)));
        heads.max_by_key(|(candidate, head)| (head.priority, Reverse(candidate.last_selected)))
    };
    let (first_poll, repeat_poll) = (
        highest_priority(|candidate| candidate.first_polls),
        highest_priority(|candidate| candidate.repeat_polls),
    );
    let pick =
        |(candidate, head): (&Candidates, QueueHead)| Pick::Job(candidate.provider_index, head.job);
    if first_poll_has_priority && let Some(first_poll) = first_poll {
        return Some(pick(first_poll));
    }
    let waiting_longest = candidates.iter().flat_map(|candidate| {
        let heads =
            candidate.first_polls.into_iter().chain(candidate.repeat_polls).map(|(_, head)| head);
        heads.map(move |head| (candidate, head))
    });
    let starved = waiting_longest
        .filter(|(_, head)| starvation_cutoff.is_some_and(|cutoff| head.due_since <= cutoff));
    if let Some(head) = starved.min_by_key(|(_, head)| head.due_since) {
        return Some(pick(head));
    }
    let heads = first_poll.into_iter().chain(repeat_poll);
    heads
        .max_by_key(|(candidate, head)| (head.priority, Reverse(candidate.last_selected)))
        .map(pick)
}

/// Jobs that became due at this time or before have waited long enough; none if no job can have. The
/// rounds are as long as the account needs to poll each of its `active_jobs` once.
fn starvation_cutoff(
    account: &ProviderAccount,
    active_jobs: u64,
    now: MonotonicTime,
) -> Option<MonotonicTime> {
    const STARVATION_ROUNDS: u64 = 4;
    let minutes = STARVATION_ROUNDS.saturating_mul(active_jobs);
    let duration = Duration::from_secs(minutes.saturating_mul(60))
        / account.rate_limiter.current_limit().max(1);
    let cutoff = now.minus(duration);
    (cutoff > MonotonicTime::default()).then_some(cutoff)
}

impl ProviderQueue {
    fn candidates(
        &mut self,
        provider_index: ProviderIndex,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> Candidates {
        self.promote_due(jobs, now);
        Candidates {
            provider_index,
            last_selected: self.last_selected,
            has_on_demand: !self.on_demand_polls.is_empty(),
            has_continuation: self.list_batcher.has_continuation(),
            first_polls: self.first_polls.highest_priority().zip(self.first_polls.longest_due()),
            repeat_polls: self.repeat_polls.highest_priority().zip(self.repeat_polls.longest_due()),
        }
    }

    /// Evaluates the jobs that have become due.
    fn promote_due(&mut self, jobs: &HashMap<JobId, TrackedJob>, now: MonotonicTime) {
        let (mut first_polls, mut repeat_polls) =
            (std::mem::take(&mut self.first_polls), std::mem::take(&mut self.repeat_polls));
        let learned = self.limits().learned;
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
                let window = self.best_list_window(job, tracked.list_position(), jobs, now);
                tracked.evaluate(learned, window.map(|(_, priority, _)| Priority(priority)), now)
            })
        });
        (self.first_polls, self.repeat_polls) = (first_polls, repeat_polls);
    }

    /// Removes the picked jobs from the queue; none if the picked job need not be polled yet.
    fn resolve_pick(
        &mut self,
        pick: Pick,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> Option<Selection> {
        let job = match pick {
            Pick::OnDemand(_) => {
                let job = self.on_demand_polls.pop_front()?;
                return Some(Selection::Poll { job, on_demand: true });
            }
            Pick::Continuation(_) => {
                let (window, jobs) = self.list_batcher.pop_continuation()?;
                return Some(Selection::List(window, jobs));
            }
            Pick::Job(_, job) => job,
        };
        self.first_polls.remove(job);
        self.repeat_polls.remove(job);
        let tracked = jobs.get(&job)?;
        let list_position = tracked.list_position();
        let window = self.best_list_window(job, list_position, jobs, now);
        if let Some(learned) = self.limits().learned
            && let Evaluation::NotBefore(at) = tracked.evaluate(
                learned,
                window.as_ref().map(|(_, priority, _)| Priority(*priority)),
                now,
            )
        {
            // The job was due only as part of a page, whose other jobs were polled meanwhile.
            self.repeat_polls.insert(job, at);
            return None;
        }
        if let Some((window, _, listed_jobs)) = window {
            let jobs = listed_jobs.into_iter().map(|(list_position, job, due)| {
                self.list_batcher.remove(list_position, job);
                self.repeat_polls.remove(job);
                (job, due)
            });
            return Some(Selection::List(window, jobs.collect()));
        }
        if let Some(list_position) = list_position {
            self.list_batcher.remove(list_position, job);
        }
        Some(Selection::Poll { job, on_demand: false })
    }

    /// The list page to request instead of polling this job, if that is worth more.
    fn best_list_window(
        &self,
        job: JobId,
        list_position: Option<UtcTime>,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> Option<(ListWindow, f64, Vec<ListedJob>)> {
        /// Under the backoff policy, a job that is due within this part of the longest interval counts
        /// as due.
        const NEARLY_DUE_DIVISOR: f64 = 10.0;
        /// Under the backoff policy, a page must save at least one request.
        const MIN_DUE_JOBS_PER_PAGE: f64 = 2.0;
        /// Under the learned policy, the priority of a page must exceed the job's own by this factor.
        const MIN_PRIORITY_GAIN: f64 = 1.1;
        let list_position = list_position.filter(|_| self.can_list())?;
        let limits = self.limits();
        let Some(learned) = limits.learned else {
            let nearly_due = now.plus(limits.backoff.max.div_f64(NEARLY_DUE_DIVISOR));
            let priority = |_, due| if due <= nearly_due { 1.0 } else { 0.0 };
            return self.list_batcher.best_window(
                (list_position, job),
                now,
                priority,
                MIN_DUE_JOBS_PER_PAGE,
            );
        };
        let priority = |job| jobs.get(&job).map_or(0.0, |tracked| tracked.priority(learned, now).0);
        self.list_batcher.best_window(
            (list_position, job),
            now,
            |job, _| priority(job),
            MIN_PRIORITY_GAIN * priority(job),
        )
    }
}

impl Tracker {
    /// Selects the next request and records it as sent; none if no request may be sent now.
    pub(super) fn select_next(&mut self, now: MonotonicTime) -> Option<(ProviderIndex, Selection)> {
        for account_index in (0..self.accounts.len()).map(AccountIndex) {
            while let Some((pick, is_contested)) = self.choose_for_account(account_index, now) {
                let provider_index = pick.provider_index();
                let queue = &mut self.queues[provider_index.0];
                let Some(selection) = queue.resolve_pick(pick, &self.jobs, now) else { continue };
                let Some(first_job) = selection.first_job() else { continue };
                let account = &mut self.accounts[account_index.0];
                queue.start_request(account, first_job, now);
                if is_contested {
                    account.count_contested_selection();
                }
                self.selection_count += 1;
                queue.last_selected = self.selection_count;
                return Some((provider_index, selection));
            }
        }
        None
    }

    /// The choice among the providers of an account, and whether first polls and repeat polls competed.
    fn choose_for_account(
        &mut self,
        account_index: AccountIndex,
        now: MonotonicTime,
    ) -> Option<(Pick, bool)> {
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
        Some((choose_pick(&candidates, first_poll_has_priority, cutoff)?, is_contested))
    }
}
