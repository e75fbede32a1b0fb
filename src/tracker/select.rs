//! Whose turn it is, once the budget of an account lets a request go: what was asked for by hand,
//! then pages that were begun, then whom asking is worth most.
//!
//! Two rules bound that order. One turn in four is a first poll's while others are due too, so that
//! wrong ids are told early; in the other three a job that was never asked counts for what it is worth
//! by its provider's past, and for nothing where there is none. And no job waits for ever: one that was
//! passed over for some rounds, as many requests each as there are jobs, goes first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::job::{JobId, ListWindow, MonotonicTime, UtcTime};

use super::Tracker;
use super::account::ProviderAccount;
use super::due_queue::{Evaluation, Priority, QueueHead};
use super::job::TrackedJob;
use super::limits::LearnedPolicy;
use super::list_batch::{ListedJob, WaitingJob};
use super::provider_queue::{ProviderIndex, ProviderQueue};

/// Whose turn it is.
#[derive(Debug)]
pub(super) enum Selection {
    /// This job's; the flag says that somebody asked for it by hand.
    Poll(JobId, bool),
    /// That of all these, by a page of the list.
    List(ListWindow, Vec<WaitingJob>),
}

/// What a lane has to ask for.
#[derive(Debug, Clone, Copy)]
struct Candidates {
    provider_index: usize,
    /// When it last had a turn, as a count of turns.
    last_selected: u64,
    on_demand: bool,
    /// A further page.
    continuation: bool,
    /// Of those that were never asked, the one that is worth most, and the oldest.
    first_polls: Option<(QueueHead, QueueHead)>,
    /// The same of the others.
    repeat_polls: Option<(QueueHead, QueueHead)>,
}

/// The best offer, and which of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    OnDemand(usize),
    Continuation(usize),
    Job(usize, JobId),
}

/// Who goes first. Lanes that have had no turn for longer win where nothing else decides. Those who
/// are due since before `overdue` have waited long enough.
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
    if let Some(candidate) = longest_unselected(|candidate| candidate.on_demand) {
        return Some(Pick::OnDemand(candidate.provider_index));
    }
    if let Some(candidate) = longest_unselected(|candidate| candidate.continuation) {
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

impl ProviderAccount {
    /// With both kinds due, one poll in so many is a first one: a quarter of the budget.
    const SELECTIONS_PER_FIRST_POLL: u8 = 4;
    /// Who is due for so many rounds goes first: none waits for more than one round longer.
    const STARVATION_ROUNDS: u64 = 4;

    /// Whether a first poll has this turn before all others.
    fn first_poll_has_priority(&self) -> bool {
        self.selections_since_first_poll + 1 >= Self::SELECTIONS_PER_FIRST_POLL
    }

    /// A turn was given for which both kinds stood by.
    fn count_selection(&mut self) {
        self.selections_since_first_poll =
            (self.selections_since_first_poll + 1) % Self::SELECTIONS_PER_FIRST_POLL;
    }

    /// Who is due since before then has waited long enough, where so many jobs share the budget.
    fn starvation_cutoff(&self, active_jobs: u64, now: MonotonicTime) -> Option<MonotonicTime> {
        let minutes = Self::STARVATION_ROUNDS.saturating_mul(active_jobs);
        let duration = Duration::from_secs(minutes.saturating_mul(60))
            / self.rate_limiter.current_limit().max(1);
        let cutoff = now.minus(duration);
        (cutoff > MonotonicTime::default()).then_some(cutoff)
    }
}

impl ProviderQueue {
    fn candidates(
        &mut self,
        provider_index: usize,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> Candidates {
        self.promote_due(jobs, now);
        Candidates {
            provider_index,
            last_selected: self.last_selected,
            on_demand: !self.on_demand.is_empty(),
            continuation: self.list_batcher.has_continuation(),
            first_polls: self.first_polls.highest_priority().zip(self.first_polls.longest_due()),
            repeat_polls: self.repeat_polls.highest_priority().zip(self.repeat_polls.longest_due()),
        }
    }

    /// Who has come due is weighed.
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
        // Without a past to go by, those that were never asked have their quarter and no more.
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

    /// Gives the turn; none if who was to have it is not to be asked yet after all.
    fn resolve_pick(
        &mut self,
        pick: Pick,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> Option<Selection> {
        let job = match pick {
            Pick::OnDemand(_) => return Some(Selection::Poll(self.on_demand.pop_front()?, true)),
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
            // It was to be asked with others, who have been asked meanwhile.
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
        Some(Selection::Poll(job, false))
    }

    /// A page that answers for this job and for others, if that saves requests.
    fn best_list_window(
        &self,
        job: JobId,
        list_position: Option<UtcTime>,
        jobs: &HashMap<JobId, TrackedJob>,
        now: MonotonicTime,
    ) -> Option<(ListWindow, f64, Vec<ListedJob>)> {
        /// With pauses that grow, who is due within this part of the longest may as well be asked now…
        const NEARLY_DUE_DIVISOR: f64 = 10.0;
        /// …and a page must save one request.
        const MIN_DUE_JOBS_PER_PAGE: f64 = 2.0;
        /// By the past, a page must be worth so much more than its job alone.
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
    /// The lane whose turn it is now, and which of its jobs.
    pub(super) fn select_next(&mut self, now: MonotonicTime) -> Option<(ProviderIndex, Selection)> {
        for account_index in 0..self.accounts.len() {
            while let Some((pick, is_contested)) = self.choose_for_account(account_index, now) {
                let (Pick::OnDemand(index) | Pick::Continuation(index) | Pick::Job(index, _)) =
                    pick;
                let provider_index = ProviderIndex(index);
                let queue = &mut self.queues[index];
                let Some(selection) = queue.resolve_pick(pick, &self.jobs, now) else { continue };
                let account = &mut self.accounts[account_index];
                queue.start_request(account, &selection, now);
                if is_contested {
                    account.count_selection();
                }
                self.selection_count += 1;
                queue.last_selected = self.selection_count;
                return Some((provider_index, selection));
            }
        }
        None
    }

    /// Who goes first, and whether first polls and others stood by.
    fn choose_for_account(
        &mut self,
        account_index: usize,
        now: MonotonicTime,
    ) -> Option<(Pick, bool)> {
        let account = &mut self.accounts[account_index];
        if account.ready_at()? > now {
            return None;
        }
        let mut candidates = Vec::new();
        let mut jobs = 0;
        let queues = self
            .queues
            .iter_mut()
            .enumerate()
            .filter(|(_, queue)| queue.account_index == account_index);
        for (index, queue) in queues {
            jobs += queue.active_jobs;
            if queue.ready_at(account).is_some_and(|ready_at| ready_at <= now) {
                candidates.push(queue.candidates(index, &self.jobs, now));
            }
        }
        let is_contested = candidates.iter().any(|candidate| candidate.first_polls.is_some())
            && candidates.iter().any(|candidate| candidate.repeat_polls.is_some())
            && !candidates.iter().any(|candidate| candidate.on_demand || candidate.continuation);
        let first_poll_has_priority = is_contested && account.first_poll_has_priority();
        Some((
            choose_pick(
                &candidates,
                first_poll_has_priority,
                account.starvation_cutoff(jobs, now),
            )?,
            is_contested,
        ))
    }
}
