//! The limit in force of an account, in requests per minute. Owned by its rate limiter.
//!
//! It is the lowest of three: the configured limit; the limit that the provider announced within the last
//! hour; and a limit that rejections reduce, because other programs may use the same account. The reduced
//! limit recovers within `RECOVERY_MINUTES`.

use std::time::Duration;

use crate::job::{MonotonicTime, RateLimitPolicy};

/// The time over which requests are counted.
pub(super) const WINDOW: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
pub(super) struct LimitInForce {
    configured: u32,
    /// The quota that the provider announced, and when.
    announced_quota: Option<(RateLimitPolicy, MonotonicTime)>,
    /// The limit right after the last rejection that reduced it, and the time of that rejection.
    reduced: Option<(u32, MonotonicTime)>,
}

impl LimitInForce {
    /// An announced limit applies for this long after its last announcement.
    const ANNOUNCED_LIMIT_TTL: Duration = Duration::from_hours(1);
    /// After a rejection the limit recovers from zero to the configured limit in this time.
    const RECOVERY_MINUTES: u32 = 10;

    pub(super) fn new(per_minute: u32) -> Self {
        Self { configured: per_minute.max(1), announced_quota: None, reduced: None }
    }

    /// Forgets an announced limit; a reduced one stays.
    pub(super) fn set_configured(&mut self, per_minute: u32) {
        self.configured = per_minute.max(1);
        self.announced_quota = None;
    }

    pub(super) fn set_announced(&mut self, quota: RateLimitPolicy, now: MonotonicTime) {
        self.announced_quota = Some((quota, now));
    }

    /// The provider rejected a request. `previous` was the limit before the announcement in its answer; if the
    /// limit at `time` is not lower, it falls to half. The rejection of a request that was sent before the
    /// last reduction changes nothing.
    pub(super) fn record_rejection(
        &mut self,
        sent_at: MonotonicTime,
        previous: u32,
        now: MonotonicTime,
        time: MonotonicTime,
    ) {
        if self.reduced.is_none_or(|(_, reduced_at)| sent_at >= reduced_at) {
            let limit = self.at(time);
            let reduced = if limit < previous { limit } else { (limit / 2).max(1) };
            self.reduced = Some((reduced, now));
        }
    }

    /// The limit that is in force at `now` if no answer changes it before.
    pub(super) fn at(&self, now: MonotonicTime) -> u32 {
        let announced = self.announced_at(now).map_or(u32::MAX, per_minute);
        let reduced = self.reduced.map_or(self.configured, |(reduced, reduced_at)| {
            let minutes = now.duration_since(reduced_at).as_secs() / WINDOW.as_secs();
            let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
            let step = (self.configured / Self::RECOVERY_MINUTES).max(1);
            reduced.saturating_add(step.saturating_mul(minutes))
        });
        self.configured.min(announced).min(reduced)
    }

    /// The quota that the provider announced within the last hour.
    pub(super) fn announced_at(&self, now: MonotonicTime) -> Option<RateLimitPolicy> {
        let (quota, at) = self.announced_quota?;
        (now < at.plus(Self::ANNOUNCED_LIMIT_TTL)).then_some(quota)
    }
}

fn per_minute(quota: RateLimitPolicy) -> u32 {
    let requests = u128::from(quota.requests) * WINDOW.as_nanos();
    let per_minute = requests / quota.window.as_nanos().max(1);
    u32::try_from(per_minute).unwrap_or(u32::MAX).max(1)
}
