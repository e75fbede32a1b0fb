//! What the answer to a request changes about its provider and its account: the rate limit, the
//! circuit breakers, outages, unknown states and learned durations.
//!
//! Called for answers to polls and list requests, and for what a person ordered. `breaker.rs` says what
//! follows a rejection.

use std::time::Duration;

use crate::job::{
    Answer, ClockReading, JobId, ListPage, MonotonicTime, Observation, ObservedState,
    ProviderError, ProviderErrorKind, RateLimitInfo,
};

use super::account::ProviderAccount;
use super::breaker::{JobStanding, RejectedSubject};
use super::message::{Action, ExpectedJob, Notice};
use super::outage::FailedPoll;
use super::pending_change::LearnedSample;
use super::provider_queue::ProviderQueue;

/// The outcome of a request, as the breakers need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestOutcome<'a> {
    pub(super) result: Result<(), &'a ProviderError>,
    pub(super) rate_limit: RateLimitInfo,
    pub(super) sent_at: MonotonicTime,
    /// The job that was polled; none if the request was about no single job.
    pub(super) job: Option<JobId>,
    /// What a rejection is about.
    pub(super) subject: RejectedSubject,
}

impl ProviderQueue {
    const MAX_UNKNOWN_STATES: usize = 100;
    /// The weight of one sample in the moving average of the detection delay.
    const DETECTION_DELAY_WEIGHT: f64 = 0.1;

    /// Records the answer to a poll of `job`.
    pub(super) fn record_answer(
        &mut self,
        account: &mut ProviderAccount,
        job: JobId,
        answer: &Answer,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let subject = match self.standing(job) {
            JobStanding::Regular => RejectedSubject::New,
            JobStanding::Rejected => RejectedSubject::KnownJob,
        };
        match answer.result.as_ref().map_err(|error| error.kind) {
            Ok(_) | Err(ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId) => {
                self.set_standing(job, JobStanding::Regular);
            }
            Err(
                ProviderErrorKind::Auth
                | ProviderErrorKind::Misconfigured
                | ProviderErrorKind::QuotaExceeded,
            ) => self.set_standing(job, JobStanding::Rejected),
            // Nothing is known about the job.
            Err(
                ProviderErrorKind::RateLimited
                | ProviderErrorKind::Transient
                | ProviderErrorKind::Malformed,
            ) => {}
        }
        self.remember_failure(Some(job), answer.result.as_ref().err(), now);
        let outcome = RequestOutcome {
            result: answer.result.as_ref().map(drop),
            rate_limit: answer.rate_limit,
            sent_at: self.end_request(job, now.monotonic),
            job: Some(job),
            subject,
        };
        self.record_outcome(account, outcome, now, actions);
    }

    /// Records the answer to a list request for these jobs. A rejection is none of a single job.
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
        self.remember_failure(None, answer.result.as_ref().err(), now);
        let outcome = RequestOutcome {
            result: answer.result.as_ref().map(drop),
            rate_limit: answer.rate_limit,
            sent_at: self.end_request(first.job, now.monotonic),
            job: None,
            subject: RejectedSubject::New,
        };
        self.record_outcome(account, outcome, now, actions);
    }

    /// Records the answer to a request that is sent again with another credential. `job` is the first one that it
    /// asked for. Only the limits of the answer count.
    pub(super) fn record_repeated_request<T>(
        &mut self,
        account: &mut ProviderAccount,
        job: JobId,
        answer: &Answer<T>,
        now: MonotonicTime,
    ) {
        let sent_at = self.end_request(job, now);
        let result = answer.result.as_ref().map(drop);
        account.complete_inconclusive_request(result, answer.rate_limit, sent_at, now);
    }

    /// Remembers a failed poll or list request, until the same job or a list is answered.
    fn remember_failure(
        &mut self,
        job: Option<JobId>,
        error: Option<&ProviderError>,
        now: ClockReading,
    ) {
        match error {
            Some(error) => {
                self.last_failed_poll =
                    Some(FailedPoll { job, at: now.utc, error: error.to_string() });
            }
            None => drop(self.last_failed_poll.take_if(|failed| failed.job == job)),
        }
    }

    /// Updates the breakers and the outages. The rate limit belongs to the account, as do the
    /// credentials: both breakers count their rejections.
    pub(super) fn record_outcome(
        &mut self,
        account: &mut ProviderAccount,
        outcome: RequestOutcome<'_>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let RequestOutcome { result, rate_limit, sent_at, .. } = outcome;
        account.complete_request(result, rate_limit, sent_at, now.monotonic);
        match result.map_err(|error| (error.kind, error)) {
            Ok(()) | Err((ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId, _)) => {
                if account.is_current(sent_at) {
                    let succeeded = self.breaker.record_success(sent_at);
                    if account.breaker.record_success(sent_at) && succeeded {
                        self.outages.end(&self.name, now, actions);
                    }
                }
            }
            Err((ProviderErrorKind::Transient, error)) => {
                let longest =
                    self.settings.as_ref().map_or(Duration::MAX, |settings| settings.backoff.max);
                self.breaker.record_transient_failure(outcome.job, longest, sent_at, now);
                self.record_failure(error, now, actions);
            }
            Err((ProviderErrorKind::Malformed, error)) => self.record_failure(error, now, actions),
            Err((
                ProviderErrorKind::Auth
                | ProviderErrorKind::QuotaExceeded
                | ProviderErrorKind::Misconfigured,
                rejection,
            )) => self.record_rejection(account, outcome.subject, rejection, sent_at, now, actions),
            Err((ProviderErrorKind::RateLimited, rejection)) => {
                let window = rate_limit.remaining.filter(|(left, _)| *left == 0);
                let retry_after = rate_limit.retry_after.max(window.map(|(_, reset)| reset));
                account.breaker.record_rate_limit_rejection(rejection, retry_after, sent_at, now);
                self.outages.count_failure(now);
                self.report_pause(account, rejection, now, actions);
            }
        }
        account.pause_for_used_up_window(rate_limit, now.monotonic);
    }

    /// Reports an outage after several failures in a row.
    fn record_failure(
        &mut self,
        error: &ProviderError,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        self.outages.count_failure(now);
        if self.outages.has_reached_threshold() {
            let (provider, reason) = (self.name.clone(), error.message.clone());
            let notice = Notice::Failing { provider, reason };
            self.outages.start(&self.name, notice, &error.message, actions);
        }
    }

    /// Records a rejection of the credentials, of the account or of the settings, or of one job only.
    fn record_rejection(
        &mut self,
        account: &mut ProviderAccount,
        subject: RejectedSubject,
        rejection: &ProviderError,
        sent_at: MonotonicTime,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        self.breaker.record_rejection(subject, rejection, sent_at, now.monotonic);
        if rejection.kind == ProviderErrorKind::Auth {
            account.breaker.record_rejection(subject, rejection, sent_at, now.monotonic);
        }
        // A rejection of a job among others that are answered is no failure of the provider.
        if self.is_suspect(account) {
            self.outages.count_failure(now);
            self.report_pause(account, rejection, now, actions);
        }
    }

    /// Reports an outage if polling is paused.
    fn report_pause(
        &mut self,
        account: &ProviderAccount,
        rejection: &ProviderError,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        if let Some(pause) = self.pause(account, now.monotonic) {
            let (provider, reason) = (self.name.clone(), rejection.message.clone());
            let duration = pause.until.duration_since(now.monotonic);
            let notice = Notice::Paused { provider, reason, duration };
            self.outages.start(&self.name, notice, &rejection.message, actions);
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
