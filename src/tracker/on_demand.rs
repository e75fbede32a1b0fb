//! Requests that a person orders: cancels, connection checks and polls.
//!
//! They share the rate limit and the pauses of the account. A cancel waits in a bounded queue, one is in
//! flight for each provider, and while polling is paused after rejections cancels are refused. The gate of
//! the connection checks is in `connection_check_gate.rs`. Cancels and checks change no job: after a cancel,
//! a poll observes the state of the job.

use std::time::Duration;

use crate::job::{
    Answer, ClockReading, ConnectionCheck, FindingKind, JobId, MonotonicTime, ProviderError,
    ProviderErrorKind, ProviderName,
};

use super::account::ProviderAccount;
use super::breaker::{RejectedSubject, RequestPause};
use super::message::{Action, RequestRefusal};
use super::phase::PollPhase;
use super::provider_answer::RequestOutcome;
use super::provider_queue::ProviderQueue;
use super::readiness::PauseOfJob;
use super::registry::Tracker;

impl ProviderQueue {
    /// Requests of one sort that may wait for one provider.
    const MAX_WAITING: usize = 100;

    /// Why a request about this job is not sent now or soon; none if it may wait for its turn.
    fn refusal(
        &self,
        account: &ProviderAccount,
        job: JobId,
        waiting: usize,
        now: MonotonicTime,
    ) -> Option<RequestRefusal> {
        if self.settings.is_none() {
            return Some(RequestRefusal::ProviderRemoved);
        }
        match self.pause_of_job(account, job, now) {
            Some(PauseOfJob::Provider(pause)) if pause.reason.is_some() => {
                Some(RequestRefusal::Paused(pause))
            }
            Some(PauseOfJob::RejectedJobs(pause)) if pause.reason.is_some() => {
                Some(RequestRefusal::JobPaused(pause))
            }
            Some(_) | None => (waiting >= Self::MAX_WAITING).then_some(RequestRefusal::QueueFull),
        }
    }

    /// Records the answer to a cancel or a connection check. Only a success and an exceeded rate limit say
    /// something about other requests. A rejection may concern what was asked for, and lengthens no pause.
    fn record_on_demand_outcome(
        &mut self,
        account: &mut ProviderAccount,
        outcome: RequestOutcome<'_>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let is_conclusive = outcome
            .result
            .map_or_else(|error| error.kind == ProviderErrorKind::RateLimited, |()| true);
        if is_conclusive {
            self.record_outcome(account, outcome, now, actions);
        } else {
            let RequestOutcome { result, rate_limit, sent_at, .. } = outcome;
            account.complete_inconclusive_request(result, rate_limit, sent_at, now.monotonic);
        }
    }
}

impl Tracker {
    /// The longest time that a connection check waits for the rate limit.
    const MAX_CHECK_WAIT: Duration = Duration::from_secs(10);

    /// Why a poll that a person orders now would not be sent.
    #[must_use]
    pub fn poll_refusal(
        &self,
        provider: &ProviderName,
        job: JobId,
        now: MonotonicTime,
    ) -> Option<RequestRefusal> {
        let queue = &self.queues[self.find_provider(provider)?.position()];
        let waiting = queue.on_demand_polls.len();
        queue.refusal(&self.accounts[queue.account_index.0], job, waiting, now)
    }

    pub(super) fn order_cancel(
        &mut self,
        provider: &ProviderName,
        job: JobId,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let provider_index = self.find_or_add_provider(provider, now.monotonic);
        let queue = &mut self.queues[provider_index.position()];
        let is_in_flight = queue.cancel_in_flight.is_some_and(|(cancelled, _)| cancelled == job);
        if is_in_flight || queue.waiting_cancels.contains(&job) {
            return;
        }
        let account = &self.accounts[queue.account_index.0];
        let waiting = queue.waiting_cancels.len();
        match queue.refusal(account, job, waiting, now.monotonic) {
            Some(refusal) => {
                actions.push(Action::RefuseCancel(provider.clone(), job, refusal));
            }
            None => queue.waiting_cancels.push_back(job),
        }
    }

    pub(super) fn order_connection_check(
        &mut self,
        provider: ProviderName,
        now: MonotonicTime,
        actions: &mut Vec<Action>,
    ) {
        let provider_index = self.find_or_add_provider(&provider, now);
        let queue = &mut self.queues[provider_index.position()];
        if !queue.check_gate.order(now) {
            let until = queue.check_gate.shared_until();
            return actions.push(Action::ShareConnectionCheck(provider, until));
        }
        if queue.check_gate.is_in_flight() {
            return;
        }
        let account = &self.accounts[queue.account_index.0];
        // A pause of jobs that were rejected does not apply: the check may show that requests succeed.
        let own_pause = queue.breaker.request_pause(now);
        let pause = own_pause.into_iter().chain(account.breaker.request_pause(now));
        let pause = pause.filter(|pause| pause.reason.is_some()).max_by_key(|pause| pause.until);
        let next_slot = account.rate_limiter.next_available_at();
        let refusal = if queue.settings.is_none() {
            Some(RequestRefusal::ProviderRemoved)
        } else if let Some(pause) = pause {
            Some(RequestRefusal::Paused(pause.clone()))
        } else {
            let late = next_slot.filter(|at| at.duration_since(now) > Self::MAX_CHECK_WAIT);
            late.map(|until| RequestRefusal::Paused(RequestPause { until, reason: None }))
        };
        if let Some(refusal) = refusal {
            queue.check_gate.cancel();
            actions.push(Action::RefuseConnectionCheck(provider, refusal));
        }
    }

    /// Refuses what waits for a provider that is now paused or removed.
    pub(super) fn refuse_waiting_requests(
        &mut self,
        now: MonotonicTime,
        actions: &mut Vec<Action>,
    ) {
        for queue in &mut self.queues {
            let account = &self.accounts[queue.account_index.0];
            if queue.settings.is_none() && queue.check_gate.is_waiting() {
                queue.check_gate.cancel();
                let refusal = RequestRefusal::ProviderRemoved;
                actions.push(Action::RefuseConnectionCheck(queue.name.clone(), refusal));
            }
            for job in std::mem::take(&mut queue.waiting_cancels) {
                match queue.refusal(account, job, 0, now) {
                    Some(refusal) => {
                        actions.push(Action::RefuseCancel(queue.name.clone(), job, refusal));
                    }
                    None => queue.waiting_cancels.push_back(job),
                }
            }
        }
    }

    /// A rejected cancel may concern the credentials, or only the right to cancel. A poll of the job
    /// tells which, before another cancel is sent. If its credential has been replaced, it is sent again, once.
    pub(super) fn handle_cancel_answered(
        &mut self,
        provider: &ProviderName,
        job: JobId,
        answer: Answer<()>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(provider_index) = self.find_provider(provider) else { return };
        let queue = &mut self.queues[provider_index.position()];
        let account = &mut self.accounts[queue.account_index.0];
        let in_flight = queue.cancel_in_flight.take();
        let sent_at = in_flight.map_or(now.monotonic, |(_, sent_at)| sent_at);
        let outcome = RequestOutcome {
            result: answer.result.as_ref().copied(),
            rate_limit: answer.rate_limit,
            sent_at,
            job: None,
            subject: RejectedSubject::New,
        };
        queue.record_on_demand_outcome(account, outcome, now, actions);
        if answer.credential_replaced && queue.repeated_cancel.replace(job) != Some(job) {
            return queue.waiting_cancels.push_front(job);
        }
        queue.repeated_cancel = None;
        let is_rejected = answer.result.as_ref().is_err_and(|error| error.kind.is_rejection());
        actions.push(Action::ReplyToCancel(job, answer.result));
        if is_rejected {
            queue.breaker.enter_half_open(false);
            let waiting = self
                .jobs
                .get(job)
                .filter(|tracked| matches!(tracked.phase(), PollPhase::Waiting { .. }));
            if let Some(tracked) = waiting {
                queue.dequeue(job, tracked.list_time);
                queue.enqueue_on_demand(job);
            }
        }
    }

    /// A check that is accepted ends a pause; a rejected one changes none.
    pub(super) fn handle_connection_checked(
        &mut self,
        provider: ProviderName,
        check: Box<ConnectionCheck>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(provider_index) = self.find_provider(&provider) else { return };
        let queue = &mut self.queues[provider_index.position()];
        let account = &mut self.accounts[queue.account_index.0];
        let sent_at = queue.check_gate.finish(now.monotonic);
        let rejection = |kind| ProviderError::new(kind, check.finding.detail.clone());
        let result = match check.finding.kind {
            FindingKind::Ok => Ok(()),
            FindingKind::InvalidCredentials | FindingKind::PermissionDenied => {
                Err(rejection(ProviderErrorKind::Auth))
            }
            FindingKind::WrongEndpoint => Err(rejection(ProviderErrorKind::Misconfigured)),
            FindingKind::QuotaExceeded => Err(rejection(ProviderErrorKind::QuotaExceeded)),
            FindingKind::RateLimited => Err(rejection(ProviderErrorKind::RateLimited)),
            FindingKind::NameNotResolved
            | FindingKind::ProxyFailed
            | FindingKind::UntrustedCertificate
            | FindingKind::Unreachable
            | FindingKind::ServiceError
            | FindingKind::UnrecognizedAnswer => Err(rejection(ProviderErrorKind::Malformed)),
        };
        let outcome = RequestOutcome {
            result: result.as_ref().copied(),
            rate_limit: check.rate_limit,
            sent_at,
            job: None,
            subject: RejectedSubject::New,
        };
        queue.record_on_demand_outcome(account, outcome, now, actions);
        if check.credential_replaced && queue.check_gate.repeat_once() {
            return;
        }
        match &result {
            Ok(()) => queue.check_gate.record_success(),
            Err(error) if error.kind.is_rejection() => {
                queue.check_gate.record_rejection(now.monotonic);
            }
            Err(_) => {}
        }
        actions.push(Action::ReplyToConnectionCheck(provider, check));
    }
}
