//! The circuit breaker that limits requests after rejections and failures, one for each provider and one
//! for each account.
//!
//! A rejected request (401, 402, 403, a redirect, another server's 404) may concern one job or the
//! credentials. [`Self::is_half_open`](CircuitBreaker::is_half_open) is therefore true until a request
//! succeeds: one request at a time is sent, a probe. Each rejection is followed by one probe of a job that
//! was not rejected and need not be due; if its answer tells nothing about the credentials (a 5xx, an
//! answer that cannot be read), jobs are polled only when they are due. The rejections of several
//! jobs with no success between them concern the credentials, and open the breaker for a growing time.
//! Jobs that were rejected have a pause of their own, so that they alone never stop the others. Rate
//! limits and `Retry-After` pause all requests. New settings make the breaker half-open too.

use std::time::Duration;

use crate::job::{ClockReading, JobId, MonotonicTime, ProviderError};

use super::failure_streak::FailureStreak;
use super::pause_durations::{clamp_retry_after, rate_limit_pause, regular_job_pause, retry_pause};
use super::transient_failures::TransientFailures;

/// A time during which no request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPause {
    pub until: MonotonicTime,
    /// The rejection that caused the pause; none if the provider's rate limit window is used up.
    pub reason: Option<String>,
}

/// The subject of a rejected request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectedSubject {
    /// A job whose previous request was not rejected, or no single job: a list or a connection check.
    New,
    /// A job whose previous request was rejected too: no new evidence about the credentials.
    KnownJob,
}

/// Whether a job's last request was rejected. Each has a pause of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobStanding {
    Regular,
    Rejected,
}

#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    /// Whether a request sent with the current settings has succeeded.
    verified: bool,
    rejections: FailureStreak,
    /// Those of [`Self::rejections`] whose subject is new.
    new_subject_rejections: u32,
    /// Whether no probe was sent since the last rejection.
    is_probe_pending: bool,
    rate_limit_rejections: FailureStreak,
    transient_failures: TransientFailures,
    /// The last pause of all requests; like the others it may have ended.
    pause: Option<RequestPause>,
    /// The last pause of regular jobs.
    regular_pause: Option<RequestPause>,
    /// The last pause of rejected jobs.
    rejected_pause: Option<RequestPause>,
}

impl CircuitBreaker {
    /// The longest pause for a rate limit window that is used up.
    const MAX_RATE_LIMIT_WINDOW: Duration = Duration::from_mins(1);
    /// Rejections of known jobs from which the credentials are in doubt.
    const REPEATED_REJECTIONS: u32 = 3;

    /// Requires a successful request under new settings. If they reach the service in another way, what
    /// is known of earlier requests does not apply to them, and the pauses end.
    pub(super) fn enter_half_open(&mut self, connection_changed: bool) {
        if connection_changed {
            *self = Self::default();
        }
        self.verified = false;
    }

    /// Whether only one request at a time may be sent, to find out whether requests succeed.
    pub(super) fn is_half_open(&self) -> bool {
        !self.verified || self.is_doubtful()
    }

    /// Whether the last requests were rejected or failed, so that only necessary ones should be sent.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_suspect() || self.is_rate_limited() || self.transient_failures.are_repeated()
    }

    /// Whether no request has succeeded since a rejection because of the rate limit.
    pub(super) fn is_rate_limited(&self) -> bool {
        self.rate_limit_rejections.count > 0
    }

    /// Whether a rejection puts the credentials in doubt.
    pub(super) fn is_suspect(&self) -> bool {
        self.new_subject_rejections > 0 || self.rejections.count >= Self::REPEATED_REJECTIONS
    }

    /// Whether the next poll should be a probe: of a job that is likely to be answered, due or not.
    pub(super) fn needs_probe(&self) -> bool {
        self.is_probe_pending && self.is_suspect()
    }

    /// A probe was sent. Until the next rejection, only due jobs are polled: a probe whose answer tells
    /// nothing about the credentials must not be repeated at once.
    pub(super) fn record_probe_sent(&mut self) {
        self.is_probe_pending = false;
    }

    /// The pause of all requests, if it has not ended.
    pub(super) fn request_pause(&self, now: MonotonicTime) -> Option<&RequestPause> {
        self.pause.as_ref().filter(|pause| pause.until > now)
    }

    /// The pause of such jobs after rejections, if it has not ended.
    pub(super) fn rejection_pause(
        &self,
        standing: JobStanding,
        now: MonotonicTime,
    ) -> Option<&RequestPause> {
        self.last_rejection_pause(standing).filter(|pause| pause.until > now)
    }

    /// The last pause of such jobs, which may have ended.
    fn last_rejection_pause(&self, standing: JobStanding) -> Option<&RequestPause> {
        match standing {
            JobStanding::Regular => self.regular_pause.as_ref(),
            JobStanding::Rejected => self.rejected_pause.as_ref(),
        }
    }

    /// When any request may be sent.
    pub(super) fn ready_at(&self) -> MonotonicTime {
        self.pause.as_ref().map_or(MonotonicTime::default(), |pause| pause.until)
    }

    /// When a poll of such a job may be sent that nobody ordered.
    pub(super) fn poll_ready_at(&self, standing: JobStanding) -> MonotonicTime {
        self.on_demand_poll_ready_at(standing).max(self.transient_failures.next_probe_at())
    }

    /// When a poll of such a job may be sent that a person ordered.
    pub(super) fn on_demand_poll_ready_at(&self, standing: JobStanding) -> MonotonicTime {
        self.last_rejection_pause(standing).map_or(MonotonicTime::default(), |pause| pause.until)
    }

    /// A request that was sent at `sent_at` with the current settings succeeded. Returns false if a later
    /// request was rejected: then this success does not show that requests succeed now.
    pub(super) fn record_success(&mut self, sent_at: MonotonicTime) -> bool {
        self.verified = true;
        if self.rejections.is_newer_than(sent_at)
            || self.rate_limit_rejections.is_newer_than(sent_at)
        {
            return false;
        }
        // A success renews no rate limit window and shortens no Retry-After: these end by time.
        *self = Self { verified: true, pause: self.pause.take(), ..Self::default() };
        true
    }

    /// Records a rejection of a request sent at `sent_at`.
    pub(super) fn record_rejection(
        &mut self,
        subject: RejectedSubject,
        rejection: &ProviderError,
        sent_at: MonotonicTime,
        now: MonotonicTime,
    ) {
        if !self.rejections.extend(sent_at, now) {
            return;
        }
        self.is_probe_pending = true;
        if subject == RejectedSubject::New {
            self.new_subject_rejections = self.new_subject_rejections.saturating_add(1);
        }
        let reason = Some(rejection.to_string());
        let pause_for =
            |duration| RequestPause { until: now.plus(duration), reason: reason.clone() };
        self.regular_pause = regular_job_pause(self.new_subject_rejections).map(pause_for);
        let counted = if self.new_subject_rejections > 0 {
            self.rejections.count
        } else {
            (self.rejections.count + 1).saturating_sub(Self::REPEATED_REJECTIONS)
        };
        self.rejected_pause = retry_pause(counted).map(pause_for);
    }

    /// Records a rejection because of the rate limit: all requests pause.
    pub(super) fn record_rate_limit_rejection(
        &mut self,
        rejection: &ProviderError,
        retry_after: Option<Duration>,
        sent_at: MonotonicTime,
        now: ClockReading,
    ) {
        if self.rate_limit_rejections.extend(sent_at, now.monotonic) {
            let count = self.rate_limit_rejections.count;
            let duration = rate_limit_pause(count, retry_after, now.jitter);
            self.extend_pause(duration, Some(rejection.to_string()), now.monotonic);
        }
    }

    /// Records a transient failure of a poll of `job`, or of a request about no single job.
    pub(super) fn record_transient_failure(
        &mut self,
        job: Option<JobId>,
        max_interval: Duration,
        sent_at: MonotonicTime,
        now: ClockReading,
    ) {
        self.transient_failures.record(job, max_interval, sent_at, now);
    }

    /// Pauses all requests for the time that an answer demands. `reason` is none if the request
    /// succeeded.
    pub(super) fn pause_for_retry_after(
        &mut self,
        retry_after: Duration,
        reason: Option<String>,
        now: MonotonicTime,
    ) {
        self.extend_pause(clamp_retry_after(retry_after), reason, now);
    }

    /// Pauses until the provider's rate limit window is renewed, at most
    /// [`Self::MAX_RATE_LIMIT_WINDOW`].
    pub(super) fn pause_for_window(&mut self, reset: Duration, now: MonotonicTime) {
        if self.request_pause(now).is_none() {
            self.extend_pause(reset.min(Self::MAX_RATE_LIMIT_WINDOW), None, now);
        }
    }

    /// Pauses all requests, unless they are paused for longer.
    fn extend_pause(&mut self, duration: Duration, reason: Option<String>, now: MonotonicTime) {
        let until = now.plus(duration);
        if self.pause.as_ref().is_none_or(|pause| pause.until < until) {
            self.pause = Some(RequestPause { until, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::ProviderErrorKind;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_millis(seconds * 1000)
    }

    fn rejected(breaker: &mut CircuitBreaker, subject: RejectedSubject, seconds: u64) {
        let rejection = ProviderError::new(ProviderErrorKind::Auth, "HTTP 403");
        breaker.record_rejection(subject, &rejection, at(seconds), at(seconds));
    }

    fn pauses(breaker: &CircuitBreaker) -> (MonotonicTime, MonotonicTime) {
        (breaker.poll_ready_at(JobStanding::Regular), breaker.poll_ready_at(JobStanding::Rejected))
    }

    #[test]
    fn one_rejected_job_pauses_only_itself() {
        let mut breaker = CircuitBreaker::default();
        breaker.record_success(at(0));
        rejected(&mut breaker, RejectedSubject::New, 1);
        assert!(breaker.is_half_open() && breaker.is_suspect());
        assert_eq!(pauses(&breaker), (at(0), at(61)));
        // Its retries are no evidence about other jobs.
        rejected(&mut breaker, RejectedSubject::KnownJob, 61);
        assert_eq!(pauses(&breaker), (at(0), at(361)));
        assert!(breaker.record_success(at(62)));
        assert_eq!((pauses(&breaker), breaker.is_half_open()), ((at(0), at(0)), false));
        for (seconds, ready) in [(63, 0), (64, 0), (65, 65 + 60), (125, 125 + 300)] {
            rejected(&mut breaker, RejectedSubject::KnownJob, seconds);
            assert_eq!(pauses(&breaker), (at(0), at(ready)), "{seconds}");
        }
    }

    #[test]
    fn rejections_of_several_jobs_pause_all_for_growing_times() {
        let mut breaker = CircuitBreaker::default();
        let mut now = 0;
        for minutes in [0, 1, 5, 15, 30, 30] {
            rejected(&mut breaker, RejectedSubject::New, now);
            now += minutes * 60;
            assert_eq!(
                breaker.poll_ready_at(JobStanding::Regular),
                at(if minutes == 0 { 0 } else { now })
            );
        }
    }

    #[test]
    fn requests_that_were_in_flight_together_are_one_piece_of_evidence() {
        let mut breaker = CircuitBreaker::default();
        rejected(&mut breaker, RejectedSubject::New, 10);
        let rejection = ProviderError::new(ProviderErrorKind::Auth, "HTTP 403");
        for second in 11..20 {
            breaker.record_rejection(RejectedSubject::New, &rejection, at(9), at(second));
            assert!(!breaker.record_success(at(9)), "sent before the rejection");
        }
        assert_eq!(breaker.poll_ready_at(JobStanding::Regular), at(0));
        assert!(breaker.is_suspect());
        assert!(breaker.record_success(at(10)));
        assert!(!breaker.is_suspect());
    }

    #[test]
    fn a_changed_connection_ends_the_pauses_and_an_unchanged_one_keeps_them() {
        for (connection_changed, ready) in [(true, at(0)), (false, at(60))] {
            let mut breaker = CircuitBreaker::default();
            breaker.record_success(at(0));
            rejected(&mut breaker, RejectedSubject::New, 0);
            rejected(&mut breaker, RejectedSubject::New, 0);
            breaker.enter_half_open(connection_changed);
            assert_eq!(breaker.poll_ready_at(JobStanding::Regular), ready);
            assert!(breaker.is_half_open());
        }
    }

    #[test]
    fn probes_after_transient_failures_are_spaced_until_a_success_and_ordered_polls_are_not() {
        let mut breaker = CircuitBreaker::default();
        breaker.record_success(at(0));
        let utc = crate::job::UtcTime::from_millis(0);
        for seconds in 1..=3 {
            let now = ClockReading { monotonic: at(seconds), utc, jitter: 0.5 };
            breaker.record_transient_failure(None, Duration::from_mins(1), at(seconds), now);
        }
        assert_eq!((breaker.is_half_open(), pauses(&breaker)), (true, (at(4), at(4))));
        assert_eq!(breaker.on_demand_poll_ready_at(JobStanding::Regular), at(0));
        assert!(breaker.record_success(at(3)));
        assert_eq!((breaker.is_half_open(), pauses(&breaker)), (false, (at(0), at(0))));
    }
}
