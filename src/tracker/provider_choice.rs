//! Chooses the next job among the providers of an account, from the best candidates of each provider.
//!
//! [`super::select`] collects the candidates and records the request as sent; the choice depends on the
//! arguments alone. The order: polls on demand, cancels, connection checks, started list requests, probes
//! after a rejection, a first poll within its share, starved jobs, then the highest priority, and among equals the job
//! that was due first.

use std::cmp::Reverse;
use std::time::Duration;

use crate::job::{JobId, MonotonicTime};

use super::account::{Precedence, ProviderAccount};
use super::due_queue::{DueJob, QueueHeads};
use super::message::ProviderIndex;

/// The candidates of one provider that may send a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProviderCandidates {
    pub(super) provider_index: ProviderIndex,
    /// The number of the selection that last chose this provider.
    pub(super) last_selected: u64,
    /// The request that comes before all due polls, if there is one.
    pub(super) urgent: Option<UrgentRequest>,
    /// The poll that finds out whether the credentials are rejected; none if they are not in doubt, or if
    /// one was sent since the last rejection.
    pub(super) probe: Option<ProbeJob>,
    /// None if no first poll is due.
    pub(super) first_polls: Option<QueueHeads>,
    /// None if no repeat poll is due.
    pub(super) repeat_polls: Option<QueueHeads>,
    /// None if no job whose last request was rejected is due.
    pub(super) rejected_polls: Option<QueueHeads>,
}

/// A request that comes before all due polls.
#[derive(Debug, Clone, Copy)]
pub(super) enum UrgentRequest {
    OnDemandPoll(JobId),
    Cancel,
    ConnectionCheck,
    /// The next page of a started list request.
    Continuation,
}

impl UrgentRequest {
    /// Among the providers of an account, the request with the lowest rank is sent first.
    fn rank(self) -> u8 {
        match self {
            Self::OnDemandPoll(_) => 0,
            Self::Cancel => 1,
            Self::ConnectionCheck => 2,
            Self::Continuation => 3,
        }
    }

    pub(super) fn is_ordered_by_person(self) -> bool {
        match self {
            Self::OnDemandPoll(_) | Self::Cancel | Self::ConnectionCheck => true,
            Self::Continuation => false,
        }
    }
}

/// A job that was not rejected, due or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeJob {
    pub(super) job: JobId,
    /// Then it has probably been answered: an answer is more likely.
    pub(super) was_polled: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ProviderChoice {
    Urgent(ProviderIndex, UrgentRequest),
    /// A job that need not be due.
    Probe(ProviderIndex, JobId),
    Job(ProviderIndex, JobId),
    /// A job that is not due, by a request that is left.
    Spare(ProviderIndex, JobId),
}

impl ProviderChoice {
    pub(super) fn provider_index(self) -> ProviderIndex {
        match self {
            Self::Urgent(index, _)
            | Self::Probe(index, _)
            | Self::Job(index, _)
            | Self::Spare(index, _) => index,
        }
    }
}

/// Chooses among the providers of an account. Among equal candidates, the provider that was not
/// selected for the longest time wins. `precedence` is none unless both first polls and repeat polls are due.
pub(super) fn choose_provider(
    candidates: &[ProviderCandidates],
    precedence: Option<Precedence>,
    starvation_cutoff: Option<MonotonicTime>,
) -> Option<ProviderChoice> {
    let urgent = candidates.iter().filter_map(|candidate| Some((candidate, candidate.urgent?)));
    if let Some((candidate, request)) =
        urgent.min_by_key(|(candidate, request)| (request.rank(), candidate.last_selected))
    {
        return Some(ProviderChoice::Urgent(candidate.provider_index, request));
    }
    let probes = candidates.iter().filter_map(|candidate| Some((candidate, candidate.probe?)));
    if let Some((candidate, probe)) =
        probes.max_by_key(|(candidate, probe)| (probe.was_polled, Reverse(candidate.last_selected)))
    {
        return Some(ProviderChoice::Probe(candidate.provider_index, probe.job));
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
    if precedence == Some(Precedence::FirstPoll)
        && let Some(first_poll) = first_poll
    {
        return Some(choice(first_poll));
    }
    let longest_due = candidates.iter().flat_map(|candidate| {
        let heads = [candidate.first_polls, candidate.repeat_polls, candidate.rejected_polls];
        heads.into_iter().flatten().map(move |heads| (candidate, heads.longest_due))
    });
    let starved = longest_due
        .filter(|(_, head)| starvation_cutoff.is_some_and(|cutoff| head.due_since <= cutoff));
    if let Some(head) = starved.min_by_key(|(_, head)| head.due_since) {
        return Some(choice(head));
    }
    let rejected_poll = highest_priority(|candidate| candidate.rejected_polls);
    let first_polls_wait = precedence == Some(Precedence::RepeatPollAmongEquals);
    let heads = [(first_poll, first_polls_wait), (repeat_poll, false), (rejected_poll, false)];
    let heads = heads.into_iter().filter_map(|(head, waits)| Some((head?, waits)));
    heads
        .max_by_key(|((candidate, head), waits)| {
            let order = (Reverse(candidate.last_selected), Reverse(head.due_since));
            (head.priority, Reverse(*waits), order)
        })
        .map(|(head, _)| choice(head))
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
