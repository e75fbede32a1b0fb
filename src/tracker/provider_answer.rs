//! What the answer to a request changes about its provider and its account: the rate limit, the
//! circuit breakers, outages, unknown states and learned durations.
//!
//! Credentials belong to the account. The breakers of a provider and of its account therefore
//! exchange rejections when the provider rejects the credentials.

use std::time::Duration;

use crate::job::{
    Answer, ClockReading, JobId, ListPage, Observation, ObservedState, ProviderError,
    ProviderErrorKind, RateLimitInfo,
};

use super::account::ProviderAccount;
use super::message::{Action, ExpectedJob, Notice};
use super::pending_change::LearnedSample;
use super::provider_queue::ProviderQueue;

/// The outcome of a request, as the breakers need it.
#[derive(Debug, Clone, Copy)]
struct RequestOutcome<'a> {
    result: Result<(), &'a ProviderError>,
    rate_limit: RateLimitInfo,
    /// Whether a rejection may concern only this job or the list, not the provider: the provider
    /// rejected the previous poll of the same job too, or the request was for a list.
    rejection_may_be_specific: bool,
}

impl ProviderQueue {
    const MAX_UNKNOWN_STATES: usize = 100;
    /// The weight of one sample in the moving average of the detection delay.
    const DETECTION_DELAY_WEIGHT: f64 = 0.1;

    /// Records the answer to a poll. `job_rejected_before`: the previous poll of the same job was
    /// rejected.
    pub(super) fn record_answer(
        &mut self,
        account: &mut ProviderAccount,
        job: JobId,
        answer: &Answer,
        job_rejected_before: bool,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let outcome = RequestOutcome {
            result: answer.result.as_ref().map(drop),
            rate_limit: answer.rate_limit,
            rejection_may_be_specific: job_rejected_before,
        };
        self.record_outcome(account, job, outcome, now, actions);
    }

    /// Records the answer to a list request for these jobs.
    pub(super) fn record_list_answer(
        &mut self,
        account: &mut ProviderAccount,
        jobs: &[ExpectedJob],
        answer: &Answer<ListPage>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        match answer.result.as_ref().map_err(|error| error.kind) {
            Ok(_) | Err(ProviderErrorKind::RateLimited | ProviderErrorKind::QuotaExceeded) => {}
            Err(
                ProviderErrorKind::Transient
                | ProviderErrorKind::Auth
                | ProviderErrorKind::NotFound
                | ProviderErrorKind::InvalidId
                | ProviderErrorKind::Misconfigured
                | ProviderErrorKind::Malformed,
            ) => self.list_batcher.record_failure(now.monotonic),
        }
        let Some(first) = jobs.first() else { return };
        let outcome = RequestOutcome {
            result: answer.result.as_ref().map(drop),
            rate_limit: answer.rate_limit,
            rejection_may_be_specific: true,
        };
        self.record_outcome(account, first.job, outcome, now, actions);
    }

    fn record_outcome(
        &mut self,
        account: &mut ProviderAccount,
        first_job: JobId,
        outcome: RequestOutcome<'_>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let sent_at = self.end_request(first_job, now.monotonic);
        let kind = outcome.result.map_err(|error| error.kind);
        account.complete_request(kind, outcome.rate_limit, sent_at, now.monotonic);
        match kind {
            Ok(()) | Err(ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId) => {
                if account.is_current(sent_at) {
                    self.breaker.mark_verified();
                    account.breaker.mark_verified();
                    account.breaker.record_success(now.monotonic);
                }
                self.update_breaker(outcome, now, actions);
            }
            Err(ProviderErrorKind::Auth) => {
                let rejections_before = self.breaker.consecutive_rejections();
                self.breaker.merge_rejections(&account.breaker, now.monotonic);
                self.update_breaker(outcome, now, actions);
                // The first rejection of a provider pauses the whole account; later ones do so only while
                // the account is half-open. If one provider is rejected repeatedly while others succeed,
                // the shared credentials are right.
                if self.breaker.consecutive_rejections() > rejections_before
                    && (rejections_before == 0 || account.breaker.is_half_open())
                {
                    account.breaker.copy_rejections(&self.breaker);
                }
            }
            Err(
                ProviderErrorKind::RateLimited
                | ProviderErrorKind::QuotaExceeded
                | ProviderErrorKind::Misconfigured
                | ProviderErrorKind::Transient
                | ProviderErrorKind::Malformed,
            ) => self.update_breaker(outcome, now, actions),
        }
        if let Some((0, reset)) = outcome.rate_limit.remaining {
            self.breaker.pause_for_window(reset, now.monotonic);
        }
    }

    /// Updates the provider's own breaker and outage recorder.
    fn update_breaker(
        &mut self,
        outcome: RequestOutcome<'_>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        match outcome.result.map_err(|error| (error.kind, error)) {
            Ok(()) | Err((ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId, _)) => {
                if self.breaker.record_success(now.monotonic) {
                    self.outages.end(&self.name, now, actions);
                }
            }
            Err((ProviderErrorKind::Transient | ProviderErrorKind::Malformed, error)) => {
                self.outages.count_failure(now);
                if self.outages.has_reached_threshold() {
                    let (provider, reason) = (self.name.clone(), error.message.clone());
                    let notice = Notice::Failing { provider, reason };
                    self.outages.start(&self.name, notice, &error.message, actions);
                }
            }
            // Other requests have succeeded since the last rejection: this one concerns only the job or
            // the list.
            Err((ProviderErrorKind::Auth | ProviderErrorKind::Misconfigured, _))
                if outcome.rejection_may_be_specific && !self.breaker.is_half_open() => {}
            Err((
                ProviderErrorKind::RateLimited
                | ProviderErrorKind::QuotaExceeded
                | ProviderErrorKind::Auth
                | ProviderErrorKind::Misconfigured,
                rejection,
            )) => {
                self.outages.count_failure(now);
                let window = outcome.rate_limit.remaining.filter(|(left, _)| *left == 0);
                let retry_after =
                    outcome.rate_limit.retry_after.max(window.map(|(_, reset)| reset));
                if let Some(duration) = self.breaker.record_rejection(rejection, retry_after, now) {
                    let (provider, reason) = (self.name.clone(), rejection.message.clone());
                    let notice = Notice::Paused { provider, reason, duration };
                    self.outages.start(&self.name, notice, &rejection.message, actions);
                }
            }
        }
    }

    /// Records an unknown state. Returns a notice the first time that the state is reported.
    pub(super) fn update_unknown_states(&mut self, observation: &Observation) -> Option<Notice> {
        let provider_state = observation.provider_state.as_str();
        if !matches!(observation.state, ObservedState::Unknown | ObservedState::Indeterminate) {
            self.unknown_states.remove(provider_state);
            return None;
        }
        let is_new = self.unknown_states.len() < Self::MAX_UNKNOWN_STATES
            && self.unknown_states.insert(provider_state.to_owned());
        is_new.then(|| Notice::UnknownState {
            provider: self.name.clone(),
            provider_state: provider_state.to_owned(),
        })
    }

    /// Adds a committed end to the duration history and to the mean detection delay.
    pub(super) fn add_sample(&mut self, sample: &LearnedSample) {
        self.duration_history.record(&sample.duration_sample);
        if let Some(delay) = sample.detection_delay {
            let previous = self.mean_detection_delay.unwrap_or(delay).as_secs_f64();
            let mean = previous + (delay.as_secs_f64() - previous) * Self::DETECTION_DELAY_WEIGHT;
            self.mean_detection_delay = Duration::try_from_secs_f64(mean).ok();
        }
    }
}
