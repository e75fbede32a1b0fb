//! The rate limiter: spacing, counting over a minute, and the three limits.

use std::time::Duration;

use jobtrack::job::{MonotonicTime, RateLimitPolicy};
use jobtrack::policy::RateLimiter;
use proptest::prelude::*;

fn at(ms: u64) -> MonotonicTime {
    MonotonicTime::from_millis(ms)
}

#[test]
fn requests_are_spaced_and_unused_slots_do_not_accumulate() {
    let mut limiter = RateLimiter::new(60, at(0));
    assert_eq!(limiter.next_available_at(), Some(at(1000)), "one spacing after the start");
    limiter.acquire(at(5000));
    assert_eq!(limiter.next_available_at(), Some(at(6000)));
    limiter.acquire(at(6500));
    assert_eq!(limiter.next_available_at(), Some(at(7500)), "unused time is not made up for");
}

#[test]
fn a_slow_request_counts_until_a_minute_after_its_end() {
    let mut limiter = RateLimiter::new(1, at(0));
    limiter.acquire(at(60_000));
    assert_eq!(
        limiter.next_available_at(),
        None,
        "the provider may receive the request at any time"
    );
    limiter.complete(at(90_000));
    assert_eq!(limiter.next_available_at(), Some(at(150_000)));
}

#[test]
fn a_lower_announced_limit_applies_and_a_higher_one_does_not() {
    let mut limiter = RateLimiter::new(60, at(0));
    let quota = |requests| RateLimitPolicy { requests, window: Duration::from_secs(30) };
    limiter.set_announced_quota(quota(10), at(0));
    assert_eq!(limiter.current_limit(), 20);
    limiter.set_announced_quota(quota(1000), at(0));
    assert_eq!(limiter.current_limit(), 60);
    limiter.set_announced_quota(quota(0), at(0));
    assert_eq!(limiter.current_limit(), 1);
}

#[test]
fn an_announced_limit_expires_an_hour_after_its_last_announcement() {
    const MINUTE: u64 = 60_000;
    let mut limiter = RateLimiter::new(60, at(0));
    let quota = RateLimitPolicy { requests: 10, window: Duration::from_mins(1) };
    limiter.set_announced_quota(quota, at(0));
    limiter.set_announced_quota(quota, at(30 * MINUTE));
    // (minute, expected limit)
    for (now, limit) in [(30, 10), (89, 10), (90, 60)] {
        limiter.advance(at(now * MINUTE));
        assert_eq!(limiter.current_limit(), limit, "at {now} minutes");
    }
}

#[test]
fn a_rejection_halves_the_limit_which_recovers_over_time() {
    const MINUTE: u64 = 60_000;
    let mut limiter = RateLimiter::new(60, at(0));
    // (time, when the request rejected at that time was sent, expected limit)
    let cases = [
        (0, Some(0), 30),
        (59_999, None, 30),
        (MINUTE, None, 36),
        (2 * MINUTE, Some(2 * MINUTE - 1), 21),
        (2 * MINUTE + 1, Some(2 * MINUTE - 1), 21),
        (2 * MINUTE + 2, Some(2 * MINUTE), 10),
        (2 * MINUTE + 3, Some(2 * MINUTE + 3), 5),
        (2 * MINUTE + 4, Some(2 * MINUTE + 4), 2),
        (2 * MINUTE + 5, Some(2 * MINUTE + 5), 1),
        (2 * MINUTE + 6, Some(2 * MINUTE + 6), 1),
        (3 * MINUTE + 6, None, 7),
        (11 * MINUTE + 6, None, 55),
        (12 * MINUTE + 6, None, 60),
        (u64::MAX, None, 60),
    ];
    for (now, rejected_sent_at, limit) in cases {
        limiter.advance(at(now));
        if let Some(sent) = rejected_sent_at {
            limiter.record_rejection(at(sent), None, at(now));
        }
        assert_eq!(limiter.current_limit(), limit, "at {now} ms");
    }
}

#[test]
fn absorb_counts_the_requests_of_the_other_limiter() {
    let mut old = RateLimiter::new(60, at(0));
    for ms in [1000, 2000, 3000] {
        old.acquire(at(ms));
    }
    old.complete(at(4000));
    old.complete(at(5000));
    let mut new = RateLimiter::new(2, at(0));
    new.absorb(&old, 1, at(10_000));
    assert_eq!(new.requests_last_minute(at(10_000)), 3);
    assert_eq!(
        new.next_available_at(),
        Some(at(65_000)),
        "both completed requests must leave the window"
    );
    new.complete(at(20_000));
    assert_eq!(new.next_available_at(), Some(at(65_000)));
}

#[test]
fn a_rejection_applies_a_lower_announced_quota_and_otherwise_halves_the_limit() {
    let quota = |requests| Some(RateLimitPolicy { requests, window: Duration::from_mins(1) });
    // (quota announced with each rejection, limit in force afterwards)
    let cases = [
        (vec![None], 300),
        (vec![quota(60)], 60),
        (vec![quota(60), quota(60)], 30),
        (vec![quota(6000)], 300),
    ];
    for (quotas, expected) in cases {
        let mut limiter = RateLimiter::new(600, at(0));
        for (second, quota) in (1..).zip(quotas.clone()) {
            limiter.record_rejection(at(second * 1000), quota, at(second * 1000));
        }
        // Sent before the last rejection: ignored.
        limiter.record_rejection(at(500), None, at(9000));
        assert_eq!(limiter.current_limit(), expected, "{quotas:?}");
    }
}

proptest! {
    /// The provider may receive a request at any time between the decision to send it and its end.
    #[test]
    fn no_minute_holds_more_than_the_limit(
        limit in 1u32..40,
        calls in prop::collection::vec((0u64..5_000, 0u64..20_000, 0.0..1.0f64), 1..200),
        rejected in prop::collection::vec(prop::option::weighted(0.05, 1u32..50), 200),
    ) {
        let mut limiter = RateLimiter::new(limit, at(0));
        let mut now = 0u64;
        let mut in_flight: Vec<u64> = Vec::new();
        let mut provider_seen_at: Vec<u64> = Vec::new();
        for ((idle, latency, when), rejected_quota) in calls.into_iter().zip(rejected) {
            now += idle;
            loop {
                in_flight.sort_unstable();
                let available_at = limiter.next_available_at().map(MonotonicTime::as_millis);
                let earliest = available_at.map(|due| due.max(now));
                match (earliest, in_flight.first().copied()) {
                    (Some(may), Some(end)) if end <= may => { limiter.complete(at(end)); now = now.max(end); in_flight.remove(0); }
                    (Some(may), _) => { now = may; break; }
                    (None, Some(end)) => { limiter.complete(at(end)); now = now.max(end); in_flight.remove(0); }
                    (None, None) => prop_assert!(false, "no request is available and none is in flight"),
                }
            }
            if let Some(quota_requests) = rejected_quota {
                // The next request may be available later now: the next round waits for it.
                limiter.record_rejection(at(now), None, at(now));
                limiter.set_announced_quota(RateLimitPolicy { requests: quota_requests, window: Duration::from_mins(1) }, at(now));
                prop_assert!(limiter.current_limit() <= quota_requests.min(limit));
                continue;
            }
            let used = limiter.requests_last_minute(at(now));
            prop_assert!(used < limiter.limit_at(at(now)), "{used} requests were sent");
            limiter.acquire(at(now));
            in_flight.push(now + latency);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small positive numbers")]
            provider_seen_at.push(now + (latency as f64 * when) as u64);
        }
        provider_seen_at.sort_unstable();
        for (index, first) in provider_seen_at.iter().enumerate() {
            let held = provider_seen_at[index..].iter().take_while(|&&ms| ms < first + 60_000).count();
            prop_assert!(held <= limit as usize, "{held} requests with a limit of {limit} in the minute from {first} ms");
        }
    }
}
