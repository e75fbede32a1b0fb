//! Chooses the next job among the providers of an account, from the best candidates of each provider.
//!
//! [`super::select`] collects the candidates and sends the request; the choice itself depends on nothing
//! else. The order: polls on demand, started list requests, the reserved first poll, jobs that have waited
//! too long, then the highest priority.

use std::cmp::Reverse;
use std::time::Duration;

use crate::job::{JobId, MonotonicTime};

use super::account::ProviderAccount;
use super::due_queue::DueJob;
use super::message::ProviderIndex;

/// What a provider that may send a request has to offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProviderCandidates {
    pub(super) provider_index: ProviderIndex,
    /// The number of the selection that last chose this provider.
    pub(super) last_selected: u64,
    pub(super) has_on_demand: bool,
    /// Whether a started list request has another page.
    pub(super) has_continuation: bool,
    /// The due first poll with the highest priority, and the one that became due first.
    pub(super) first_polls: Option<(DueJob, DueJob)>,
    /// The same for repeat polls.
    pub(super) repeat_polls: Option<(DueJob, DueJob)>,
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

/// Chooses among the providers of an account. Where nothing else decides, the provider that was not
/// selected for the longest time wins.
pub(super) fn choose_pick(
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
    let highest_priority = |queue_heads: fn(&ProviderCandidates) -> Option<(DueJob, DueJob)>| {
        let heads = candidates
            .iter()
            .filter_map(move |candidate| Some((candidate, queue_heads(candidate)?.0)));
        heads.max_by_key(|(candidate, head)| (head.priority, Reverse(candidate.last_selected)))
    };
    let (first_poll, repeat_poll) = (
        highest_priority(|candidate| candidate.first_polls),
        highest_priority(|candidate| candidate.repeat_polls),
    );
    let pick = |(candidate, head): (&ProviderCandidates, DueJob)| {
        ProviderChoice::Job(candidate.provider_index, head.job)
    };
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
pub(super) fn starvation_cutoff(
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
