//! When the next request of a provider may be sent, and the pause that keeps it waiting.
//!
//! A request waits for the rate limit of the account, for the provider's limit of requests in flight,
//! and for the end of a pause of the provider or of its account. Polls also wait for the pause of their
//! sort of jobs: those whose last request was rejected, or all others.

use crate::job::{JobId, MonotonicTime};

use super::account::ProviderAccount;
use super::breaker::{JobStanding, RequestPause};
use super::provider_queue::ProviderQueue;

/// A pause that keeps a job waiting.
#[derive(Debug)]
pub(super) enum PauseOfJob {
    /// All jobs of the provider are paused.
    Provider(RequestPause),
    /// The jobs that were rejected are paused, and others are not.
    RejectedJobs(RequestPause),
}

impl ProviderQueue {
    /// When the next request may be sent, if no answer arrives before; none if an answer must come first
    /// or nothing waits.
    pub(super) fn next_wakeup(&self, account: &ProviderAccount) -> Option<MonotonicTime> {
        let ready_at = self.ready_at(account)?;
        let regular_at = self.poll_ready_at(account, JobStanding::Regular).max(ready_at);
        let rejected_at = self.poll_ready_at(account, JobStanding::Rejected).max(ready_at);
        let on_demand_poll = self
            .on_demand_polls
            .iter()
            .map(|job| self.on_demand_poll_ready_at(account, self.standing(*job)).max(ready_at))
            .min();
        let cancel_or_check =
            (self.can_send_cancel() || self.check_gate.is_waiting()).then_some(ready_at);
        let continuation = self.list_batcher.has_continuation().then_some(regular_at);
        let regular_due = if self.needs_probe(account) {
            self.has_waiting_regular().then_some(regular_at)
        } else {
            self.earliest_regular_due().map(|due| due.max(regular_at))
        };
        let rejected_due = self.rejected_polls.earliest_due().map(|due| due.max(rejected_at));
        [on_demand_poll, cancel_or_check, continuation, regular_due, rejected_due]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the next request may be sent; none if an answer must come first.
    pub(super) fn ready_at(&self, account: &ProviderAccount) -> Option<MonotonicTime> {
        let settings = self.settings.as_ref()?;
        let max_in_flight = if self.breaker.is_half_open() { 1 } else { settings.max_in_flight };
        if self.in_flight_requests() >= max_in_flight {
            return None;
        }
        Some(account.ready_at()?.max(self.breaker.ready_at()))
    }

    /// When a poll that nobody ordered may be sent, as far as rejections and failures are concerned.
    pub(super) fn poll_ready_at(
        &self,
        account: &ProviderAccount,
        standing: JobStanding,
    ) -> MonotonicTime {
        self.breaker.poll_ready_at(standing).max(account.breaker.poll_ready_at(standing))
    }

    /// When a poll that a person ordered may be sent, as far as rejections are concerned.
    fn on_demand_poll_ready_at(
        &self,
        account: &ProviderAccount,
        standing: JobStanding,
    ) -> MonotonicTime {
        let own = self.breaker.on_demand_poll_ready_at(standing);
        own.max(account.breaker.on_demand_poll_ready_at(standing))
    }

    /// Whether a rejection puts the credentials in doubt.
    pub(super) fn is_suspect(&self, account: &ProviderAccount) -> bool {
        self.breaker.is_suspect() || account.breaker.is_suspect()
    }

    /// Whether the next poll should find out whether the credentials are rejected.
    pub(super) fn needs_probe(&self, account: &ProviderAccount) -> bool {
        self.breaker.needs_probe() || account.breaker.needs_probe()
    }

    /// The first poll that a person ordered and that may be sent. A rejected job that waits for the end of
    /// its pause does not hold up the others.
    pub(super) fn ready_on_demand_poll(
        &self,
        account: &ProviderAccount,
        now: MonotonicTime,
    ) -> Option<JobId> {
        let is_ready =
            |job: &JobId| self.on_demand_poll_ready_at(account, self.standing(*job)) <= now;
        self.on_demand_polls.iter().copied().find(is_ready)
    }

    /// Whether a cancel request waits for nothing but the rate limit and other requests.
    pub(super) fn can_send_cancel(&self) -> bool {
        !self.waiting_cancels.is_empty() && self.cancel_in_flight.is_none()
    }

    fn has_waiting_regular(&self) -> bool {
        !self.first_polls.is_empty() || !self.repeat_polls.is_empty()
    }

    /// The pause of such a job that ends last.
    pub(super) fn pause_of(
        &self,
        account: &ProviderAccount,
        standing: JobStanding,
        now: MonotonicTime,
    ) -> Option<RequestPause> {
        let breakers = [&self.breaker, &account.breaker].into_iter();
        let pauses = breakers.flat_map(|breaker| {
            [breaker.request_pause(now), breaker.rejection_pause(standing, now)]
        });
        pauses.flatten().max_by_key(|pause| pause.until).cloned()
    }

    /// The pause of this job that ends last.
    pub(super) fn pause_of_job(
        &self,
        account: &ProviderAccount,
        job: JobId,
        now: MonotonicTime,
    ) -> Option<PauseOfJob> {
        let pause = self.pause_of(account, self.standing(job), now)?;
        let of_provider = self.pause(account, now);
        // If the provider is paused after rejections, its rejected jobs may be paused for longer.
        let is_of_provider = of_provider.is_some_and(|shown| {
            shown == pause || (shown.reason.is_some() && pause.reason.is_some())
        });
        let scope = if is_of_provider { PauseOfJob::Provider } else { PauseOfJob::RejectedJobs };
        Some(scope(pause))
    }

    /// The pause of the provider: of the jobs that were not rejected, if there are any.
    pub(super) fn pause(
        &self,
        account: &ProviderAccount,
        now: MonotonicTime,
    ) -> Option<RequestPause> {
        let standing =
            if self.all_jobs_are_rejected() { JobStanding::Rejected } else { JobStanding::Regular };
        self.pause_of(account, standing, now)
    }

    fn earliest_regular_due(&self) -> Option<MonotonicTime> {
        self.first_polls.earliest_due().into_iter().chain(self.repeat_polls.earliest_due()).min()
    }
}
