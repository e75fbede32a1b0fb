//! The circuit breaker that pauses requests after rejections, used for a provider and for an account.
//!
//! A rejection opens the breaker for a pause that grows with consecutive rejections. After the pause
//! the breaker is half-open: one request at a time is sent until one succeeds. New settings make the
//! breaker half-open too, because they may have repaired or broken the credentials.

use std::time::Duration;

use crate::job::{ClockReading, MonotonicTime, ProviderError, ProviderErrorKind};

/// A time during which no request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPause {
    pub until: MonotonicTime,
    /// The rejection that caused the pause; none if the provider's rate limit window is used up.
    pub reason: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    consecutive_rejections: u32,
    /// Whether a request sent with the current settings has succeeded.
    verified: bool,
    /// The last pause, which may have ended.
    pause: Option<RequestPause>,
}

impl CircuitBreaker {
    /// The longest pause for a rate limit window that is used up.
    const MAX_RATE_LIMIT_WINDOW: Duration = Duration::from_mins(1);

    pub(super) fn consecutive_rejections(&self) -> u32 {
        self.consecutive_rejections
    }

    /// The last pause, which may have ended.
    pub(super) fn pause(&self) -> Option<&RequestPause> {
        self.pause.as_ref()
    }

    /// Ends the pause and requires a successful request under the new settings.
    pub(super) fn enter_half_open(&mut self) {
        self.pause = None;
        self.verified = false;
    }

    /// A request that was sent with the current settings succeeded.
    pub(super) fn mark_verified(&mut self) {
        self.verified = true;
    }

    /// Whether only one request at a time may be sent, to find out whether requests succeed.
    pub(super) fn is_half_open(&self) -> bool {
        !self.verified || self.consecutive_rejections > 0
    }

    /// Whether a rejection keeps the breaker open. An answer that arrives during such a pause belongs
    /// to a request sent before the rejection, and does not show whether the provider accepts requests
    /// now.
    fn is_open(&self, now: MonotonicTime) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.reason.is_some() && pause.until > now)
    }

    /// Closes the breaker after a successful request. Returns false if the breaker stays open.
    pub(super) fn record_success(&mut self, now: MonotonicTime) -> bool {
        if self.is_open(now) {
            return false;
        }
        self.consecutive_rejections = 0;
        // A success clears only a pause after a rejection. It renews no rate limit window: that pause
        // ends by time.
        self.pause = self.pause.take().filter(|pause| pause.reason.is_none());
        true
    }

    /// Opens the breaker after a rejection and returns the length of the pause; none if the breaker
    /// is open already.
    pub(super) fn record_rejection(
        &mut self,
        rejection: &ProviderError,
        retry_after: Option<Duration>,
        now: ClockReading,
    ) -> Option<Duration> {
        if self.is_open(now.monotonic) {
            return None;
        }
        self.consecutive_rejections = self.consecutive_rejections.saturating_add(1);
        let duration =
            pause_duration(rejection.kind, self.consecutive_rejections, retry_after, now.jitter);
        let (until, reason) = (now.monotonic.plus(duration), Some(rejection.to_string()));
        self.pause = Some(RequestPause { until, reason });
        Some(duration)
    }

    /// Pauses until the provider's rate limit window is renewed, at most
    /// [`Self::MAX_RATE_LIMIT_WINDOW`]. A pause that has not ended is kept.
    pub(super) fn pause_for_window(&mut self, reset: Duration, now: MonotonicTime) {
        if self.pause.as_ref().is_none_or(|pause| pause.until <= now) {
            let until = now.plus(reset.min(Self::MAX_RATE_LIMIT_WINDOW));
            self.pause = Some(RequestPause { until, reason: None });
        }
    }

    /// Takes over the rejections of the account: the higher count, and the pause that ends later.
    pub(super) fn merge_rejections(&mut self, account: &Self, now: MonotonicTime) {
        self.consecutive_rejections =
            self.consecutive_rejections.max(account.consecutive_rejections);
        let account_pause = account.pause.clone().filter(|_| account.is_open(now));
        self.pause =
            account_pause.into_iter().chain(self.pause.take()).max_by_key(|pause| pause.until);
    }

    /// Takes over the rejections and the pause of a provider's breaker.
    pub(super) fn copy_rejections(&mut self, provider: &Self) {
        self.consecutive_rejections = provider.consecutive_rejections;
        self.pause.clone_from(&provider.pause);
    }
}

/// The pause after consecutive failures that a short wait does not repair.
pub(super) fn escalating_pause(consecutive_rejections: u32) -> Duration {
    Duration::from_mins(match consecutive_rejections {
        0 | 1 => 1,
        2 => 5,
        3 => 15,
        _ => 30,
    })
}

/// The pause after the given number of consecutive rejections. `Retry-After` is clamped to one
/// second to one hour, and shortens the growing pause only after a first rate limit rejection.
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
        | ProviderErrorKind::InvalidId
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
    fn pauses_grow_and_retry_after_is_clamped() {
        let rate_limited = ProviderErrorKind::RateLimited;
        let auth_error = ProviderErrorKind::Auth;
        let secs = Duration::from_secs;
        // (error kind, consecutive rejections, Retry-After, expected pause)
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
