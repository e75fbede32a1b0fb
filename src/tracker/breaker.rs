//! How a provider is doing: whether it answers, fails or refuses, and how long it is left alone.
//!
//! An outage is told at its beginning and at its end, once each. A refusal pauses the whole provider,
//! longer each time; afterwards one request tries whether the way is clear.

use std::time::Duration;

use crate::job::{
    ClockReading, MonotonicTime, Outage, OutageEdge, ProviderError, ProviderErrorKind,
    ProviderName, RateLimitInfo, UtcTime,
};

use super::{Action, Notice};

/// A time in which nothing is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPause {
    /// Until then.
    pub until: MonotonicTime,
    /// Why; none if the provider's own window is merely used up.
    pub reason: Option<String>,
}

/// What the answers of late tell of a provider.
#[derive(Debug, Default)]
pub(super) struct ProviderHealth {
    /// Failed polls in a row.
    consecutive_failures: u32,
    /// When the first of them was.
    failing_since: Option<UtcTime>,
    /// Refusals in a row.
    consecutive_rejections: u32,
    /// Whether it has answered well since its settings were read.
    verified: bool,
    pause: Option<RequestPause>,
    recorded_outage: RecordedOutage,
}

/// What is recorded of outages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum RecordedOutage {
    /// Nothing, in this life: an earlier one may have left an outage open.
    #[default]
    Unknown,
    /// One lasts.
    Ongoing,
    /// None lasts.
    Ended,
}

impl ProviderHealth {
    /// A provider is reported as failing after so many failed polls in a row.
    const OUTAGE_THRESHOLD: u32 = 3;
    const MAX_RATE_LIMIT_WINDOW: Duration = Duration::from_mins(1);

    /// Failed polls in a row.
    pub(super) fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// The last pause, which may be over.
    pub(super) fn pause(&self) -> Option<&RequestPause> {
        self.pause.as_ref()
    }

    /// Its settings were read anew: lets the next request go at once, since what was wrong may be
    /// mended, and that one alone, since what was right may be wrong.
    pub(super) fn enter_half_open(&mut self) {
        self.pause = None;
        self.verified = false;
    }

    /// It answered well, to a request that was sent with the settings of now.
    pub(super) fn mark_verified(&mut self) {
        self.verified = true;
    }

    /// Whether it has still to answer well: since its settings were read, or since it refused us.
    pub(super) fn is_half_open(&self) -> bool {
        !self.verified || self.consecutive_rejections > 0
    }

    /// Refusals in a row.
    pub(super) fn consecutive_rejections(&self) -> u32 {
        self.consecutive_rejections
    }

    /// What other providers of its account know of the key that they share.
    pub(super) fn merge_account_rejections(
        &mut self,
        account_rejections: u32,
        account_pause: Option<RequestPause>,
    ) {
        self.consecutive_rejections = self.consecutive_rejections.max(account_rejections);
        self.pause =
            account_pause.into_iter().chain(self.pause.take()).max_by_key(|pause| pause.until);
    }

    /// Takes in what an answer tells of the provider.
    pub(super) fn record_outcome(
        &mut self,
        provider: &ProviderName,
        outcome: Result<(), &ProviderError>,
        rate_limit: RateLimitInfo,
        job_rejected_before: bool,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        match outcome.map_err(|error| (error.kind, error)) {
            Ok(()) | Err((ProviderErrorKind::NotFound, _)) => {
                self.record_success(provider, now, actions);
            }
            Err((ProviderErrorKind::Transient | ProviderErrorKind::Malformed, error)) => {
                self.count_failure(now);
                if self.consecutive_failures >= Self::OUTAGE_THRESHOLD {
                    let reason = error.message.clone();
                    let notice = Notice::Failing { provider: provider.clone(), reason };
                    self.begin_outage(provider, notice, &error.message, actions);
                }
            }
            // The provider rejected this job before and has answered for others since: the
            // rejection concerns the job alone.
            Err((ProviderErrorKind::Auth | ProviderErrorKind::Misconfigured, _))
                if job_rejected_before && !self.is_half_open() => {}
            Err((
                ProviderErrorKind::RateLimited
                | ProviderErrorKind::QuotaExceeded
                | ProviderErrorKind::Auth
                | ProviderErrorKind::Misconfigured,
                rejection,
            )) => {
                self.count_failure(now);
                let reset =
                    rate_limit.remaining.filter(|(left, _)| *left == 0).map(|(_, reset)| reset);
                let retry_after = rate_limit.retry_after.max(reset);
                self.pause_after_rejection(provider, rejection, retry_after, now, actions);
            }
        }
        if self.pause.is_none()
            && let Some((0, reset)) = rate_limit.remaining
        {
            let until = now.monotonic.plus(reset.min(Self::MAX_RATE_LIMIT_WINDOW));
            self.pause = Some(RequestPause { until, reason: None });
        }
    }

    /// When the outage began that lasts, if one does.
    pub(super) fn outage_since(&self) -> Option<UtcTime> {
        self.failing_since.filter(|_| self.recorded_outage == RecordedOutage::Ongoing)
    }

    /// The jobs of another come here, and its outage, if one lasts, with them.
    pub(super) fn absorb(&mut self, other: Self) {
        match (self.recorded_outage, other.recorded_outage) {
            (RecordedOutage::Unknown, _) => *self = other,
            // It goes on as ours, and the next good answer ends it.
            (RecordedOutage::Ended, RecordedOutage::Ongoing | RecordedOutage::Unknown) => {
                self.recorded_outage = RecordedOutage::Unknown;
            }
            (RecordedOutage::Ongoing, _) | (RecordedOutage::Ended, RecordedOutage::Ended) => {}
        }
    }

    fn count_failure(&mut self, now: ClockReading) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.failing_since.get_or_insert(now.utc);
    }

    /// The beginning of an outage, once.
    fn begin_outage(
        &mut self,
        provider: &ProviderName,
        notice: Notice,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        if self.recorded_outage == RecordedOutage::Ongoing {
            return;
        }
        self.recorded_outage = RecordedOutage::Ongoing;
        actions.push(Action::Notify(notice));
        if let Some(at) = self.failing_since {
            let edge = OutageEdge::Began { at, reason: reason.to_owned() };
            actions.push(Action::RecordOutage(Outage { provider: provider.clone(), edge }));
        }
    }

    fn record_success(
        &mut self,
        provider: &ProviderName,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        if self.is_paused(now.monotonic) {
            return;
        }
        let previous = std::mem::replace(&mut self.recorded_outage, RecordedOutage::Ended);
        if previous != RecordedOutage::Ended {
            let edge = OutageEdge::Ended { at: now.utc, failed_polls: self.consecutive_failures };
            actions.push(Action::RecordOutage(Outage { provider: provider.clone(), edge }));
        }
        if previous == RecordedOutage::Ongoing {
            actions.push(Action::Notify(Notice::Recovered { provider: provider.clone() }));
        }
        self.consecutive_failures = 0;
        self.failing_since = None;
        self.consecutive_rejections = 0;
        // A window that is used up stays so until it ends, whatever was answered before.
        self.pause = self.pause.take().filter(|pause| pause.reason.is_none());
    }

    fn pause_after_rejection(
        &mut self,
        provider: &ProviderName,
        rejection: &ProviderError,
        retry_after: Option<Duration>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        if self.is_paused(now.monotonic) {
            return;
        }
        self.consecutive_rejections = self.consecutive_rejections.saturating_add(1);
        let duration =
            pause_duration(rejection.kind, self.consecutive_rejections, retry_after, now.jitter);
        let reason = rejection.to_string();
        self.pause = Some(RequestPause {
            until: now.monotonic.plus(duration),
            reason: Some(reason.clone()),
        });
        let notice =
            Notice::Paused { provider: provider.clone(), reason: reason.clone(), duration };
        self.begin_outage(provider, notice, &reason, actions);
    }

    /// Whether a refusal still keeps the lane closed. An answer that comes meanwhile belongs to a
    /// request sent before, and tells nothing of what holds since.
    fn is_paused(&self, now: MonotonicTime) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.reason.is_some() && pause.until > now)
    }
}

/// The pause after so many refusals in a row of what is not mended by waiting a little.
pub(super) fn escalating_pause(consecutive_rejections: u32) -> Duration {
    Duration::from_mins(match consecutive_rejections {
        0 | 1 => 1,
        2 => 5,
        3 => 15,
        _ => 30,
    })
}

/// How long a provider is left alone after its `strikes`-th refusal in a row. `Retry-After` is
/// obeyed within a second and an hour, and never shortens our own growing pause after the first.
fn pause_duration(
    rejection: ProviderErrorKind,
    consecutive_rejections: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
    const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
    let own_pause = match rejection {
        ProviderErrorKind::RateLimited => {
            let exponential =
                Duration::from_secs(5) * 2u32.saturating_pow((consecutive_rejections - 1).min(6));
            exponential.min(Duration::from_mins(5)).mul_f64(1.0 + 0.2 * jitter)
        }
        ProviderErrorKind::QuotaExceeded
        | ProviderErrorKind::Auth
        | ProviderErrorKind::Misconfigured
        | ProviderErrorKind::NotFound
        | ProviderErrorKind::Transient
        | ProviderErrorKind::Malformed => escalating_pause(consecutive_rejections),
    };
    match (
        retry_after.map(|retry_after| retry_after.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)),
        rejection,
        consecutive_rejections,
    ) {
        (Some(retry_after), ProviderErrorKind::RateLimited, 1) => retry_after,
        (Some(retry_after), _, _) => retry_after.max(own_pause),
        (None, _, _) => own_pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_respect_retry_after_within_bounds() {
        let rate_limited = ProviderErrorKind::RateLimited;
        let auth_error = ProviderErrorKind::Auth;
        let secs = Duration::from_secs;
        // (refusal, how many in a row, Retry-After, the pause)
        let cases = [
            (rate_limited, 1, None, secs(5)),
            (rate_limited, 2, None, secs(10)),
            (rate_limited, 50, None, secs(300)),
            (rate_limited, 1, Some(secs(0)), secs(1)),
            (rate_limited, 1, Some(secs(2)), secs(2)),
            (rate_limited, 1, Some(secs(999_999)), secs(3600)),
            (rate_limited, 3, Some(secs(2)), secs(20)),
            (auth_error, 1, None, secs(60)),
            (auth_error, 2, None, secs(300)),
            (auth_error, 3, None, secs(900)),
            (auth_error, 4, None, secs(1800)),
            (auth_error, 900, None, secs(1800)),
            (auth_error, 1, Some(secs(120)), secs(120)),
        ];
        for (error, consecutive_rejections, retry_after, expected) in cases {
            let pause = pause_duration(error, consecutive_rejections, retry_after, 0.0);
            assert_eq!(pause, expected, "{error:?} {consecutive_rejections} {retry_after:?}");
        }
    }
}
