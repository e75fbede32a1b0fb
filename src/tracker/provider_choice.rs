//! Chooses the next job among the providers of an account, from the best candidates of each provider.
//!
//! [`super::select`] collects the candidates and records the request as sent; the choice depends on the
//! arguments alone. The order: polls on demand, started list requests, the reserved first poll, starved
//! jobs, then the highest priority.

use std::cmp::Reverse;
use std::time::Duration;

use crate::job::{JobId, MonotonicTime};

use super::account::ProviderAccount;
use super::due_queue::{DueJob, QueueHeads};
use super::message::ProviderIndex;

/// The candidates of one provider that may send a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProviderCandidates {
    pub(super) provider_index: ProviderIndex,
    /// The number of the selection that last chose this provider.
    pub(super) last_selected: u64,
    pub(super) has_on_demand: bool,
    /// Whether a started list request has another page.
    pub(super) has_continuation: bool,
    /// None if no first poll is due.
    pub(super) first_polls: Option<QueueHeads>,
    /// None if no repeat poll is due.
    pub(super) repeat_polls: Option<QueueHeads>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderChoice {
    OnDemand(ProviderIndex),
    Continuation(ProviderIndex),
    Job(ProviderIndex, JobId),
}

impl ProviderChoice {
    pub(super) fn provider_index(self) -> ProviderIndex {
        match self {
            Self::OnDemand(index) | Self::Continuation(index) | Self::Job(index, _) => index,
        }
    }
}

/// Chooses among the providers of an account. Among equal candidates, the provider that was not
/// selected for the longest time wins.
pub(super) fn choose_provider(
    candidates: &[ProviderCandidates],
    first_poll_has_priority: bool,
    starvation_cutoff: Option<MonotonicTime>,
) -> Option<ProviderChoice> {
    let longest_unselected = |matches: fn(&ProviderCandidates) -> bool| {
        candidates
            .iter()
            .filter(|candidate| matches(candidate))
            .min_by_key(|candidate| candidate.last_selected)
    };
    if let Some(candidate) = longest_unselected(|candidate| candidate.has_on_demand) {
        return Some(ProviderChoice::OnDemand(candidate.provider_index));
    }
    if let Some(candidate) = longest_unselected(|candidate| candidate.has_continuation) {
        return Some(ProviderChoice::Continuation(candidate.provider_index));
    }
    let highest_priority = |queue_heads: fn(&ProviderCandidates) -> Option<QueueHeads>| {
        let heads = candidates.iter().filter_map(move |candidate| {
            Some((candidate, queue_heads(candidate)?.highest_priority))
        });
        heads.max_by_key(|(candidate, head)| (head.priority, Reverse(candidate.last_selected)))
    };
    let (first_poll, repeat_poll) = (
        highest_priority(|candidate| candidate.first_polls),
        highest_priority(|candidate| candidate.repeat_polls),
    );
    let choice = |(candidate, head): (&ProviderCandidates, DueJob)| {
        ProviderChoice::Job(candidate.provider_index, head.job)
    };
    if first_poll_has_priority && let Some(first_poll) = first_poll {
        return Some(choice(first_poll));
    }
    let longest_due = candidates.iter().flat_map(|candidate| {
        let heads = candidate.first_polls.into_iter().chain(candidate.repeat_polls);
        heads.map(move |heads| (candidate, heads.longest_due))
    });
    let starved = longest_due
        .filter(|(_, head)| starvation_cutoff.is_some_and(|cutoff| head.due_since <= cutoff));
    if let Some(head) = starved.min_by_key(|(_, head)| head.due_since) {
        return Some(choice(head));
    }
    let heads = first_poll.into_iter().chain(repeat_poll);
    heads
        .max_by_key(|(candidate, head)| (head.priority, Reverse(candidate.last_selected)))
        .map(choice)
}

/// Jobs that became due at or before the returned time are starved. A round is the time in which the
/// rate limit allows one poll of each of the `active_jobs` of the account; the cutoff lies
/// `STARVATION_ROUNDS` rounds back. None if the daemon has not run for so long.
pub(super) fn starvation_cutoff(
    account: &ProviderAccount,
    active_jobs: u64,
    now: MonotonicTime,
) -> Option<MonotonicTime> {
    const STARVATION_ROUNDS: u64 = 4;
    let requests = STARVATION_ROUNDS.saturating_mul(active_jobs);
    let duration = Duration::from_secs(requests.saturating_mul(60))
        / account.rate_limiter.current_limit().max(1);
    let cutoff = now.minus(duration);
    (cutoff > MonotonicTime::default()).then_some(cutoff)
}
