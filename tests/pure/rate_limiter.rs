//! The rate limiter: the even pace, bursts, counting over a minute, and the three limits.

use std::time::Duration;

use jobtrack::job::{MonotonicTime, RateLimitPolicy};
use jobtrack::policy::RateLimiter;
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

fn at(ms: u64) -> MonotonicTime {
    MonotonicTime::from_millis(ms)
}

fn quota(requests: u32, seconds: u64) -> RateLimitPolicy {
    RateLimitPolicy { requests, window: Duration::from_secs(seconds) }
}

#[derive(Debug, Clone, Copy)]
enum ProcessEnd {
    InOrder,
    Killed,
}

/// A caller of a rate limiter, with a clock.
struct Caller {
    limiter: RateLimiter,
    now: u64,
    /// When the present process started, whose clock the limiter knows.
    started_at: u64,
    /// The times of sending and the ends of all requests.
    requests: Vec<(u64, u64)>,
    /// The ends of the requests in flight.
    in_flight: Vec<u64>,
}

impl Caller {
    fn new(limit: u32) -> Self {
        let limiter = RateLimiter::new(limit, at(0));
        Self { limiter, now: 0, started_at: 0, requests: Vec::new(), in_flight: Vec::new() }
    }

    /// The present by the clock of the process.
    fn process_time(&self) -> MonotonicTime {
        at(self.now - self.started_at)
    }

    /// Moves the time, and completes the requests that end until then.
    fn wait_until(&mut self, ms: u64) {
        self.in_flight.sort_unstable();
        let ended = self.in_flight.partition_point(|end| *end <= ms);
        for end in self.in_flight.drain(..ended) {
            self.now = self.now.max(end);
            self.limiter.complete(at(self.now - self.started_at));
        }
        self.now = self.now.max(ms);
        self.limiter.advance(self.process_time());
    }

    /// Sends a request as soon as the limiter allows it, and late by up to `lateness`.
    fn send(&mut self, latency: u64, lateness: u64) {
        loop {
            let next_end = self.in_flight.iter().copied().min();
            let available = self.limiter.next_available_at();
            let available = available.map(|slot| self.started_at + slot.as_millis());
            let wake_up = available.into_iter().chain(next_end).min().expect("no stall");
            let is_in_time = available.is_some_and(|ms| ms <= self.now);
            if is_in_time {
                break;
            }
            self.wait_until(wake_up + if available == Some(wake_up) { lateness } else { 0 });
        }
        // The count, by the times of this caller: what has ended more than a minute ago does not count.
        let counted = |end: u64| end + MINUTE > self.now;
        let sent = self.requests.iter().filter(|(_, end)| counted(*end)).count();
        let limit = self.limiter.limit_at(self.process_time());
        assert!(sent < limit as usize, "{sent} requests in a minute, the limit is {limit}");
        self.limiter.acquire(self.process_time());
        self.requests.push((self.now, self.now + latency));
        self.in_flight.push(self.now + latency);
    }

    /// The process ends, with its requests in flight, and another one starts after `downtime`.
    fn restart(&mut self, limit: u32, downtime: u64, end: ProcessEnd) {
        let state = self.limiter.state(self.process_time());
        self.in_flight.clear();
        for (_, ended) in &mut self.requests {
            *ended = self.now.min(*ended);
        }
        self.now += downtime;
        self.started_at = self.now;
        self.limiter = RateLimiter::new(limit, at(0));
        match (end, state) {
            (ProcessEnd::InOrder, Some(state)) => self.limiter.follow_state(&state, at(0)),
            (ProcessEnd::InOrder, None) | (ProcessEnd::Killed, _) => {
                self.limiter.follow_unknown_requests(at(0));
            }
        }
    }

    /// The times of sending since `from`.
    fn sent_since(&self, from: u64) -> Vec<u64> {
        self.requests.iter().map(|(sent, _)| *sent).filter(|sent| *sent >= from).collect()
    }
}

fn longest_gap(sent: &[u64]) -> u64 {
    sent.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

#[test]
fn requests_are_spaced_evenly_without_idle_time() {
    let mut caller = Caller::new(7);
    for _ in 0..70 {
        caller.send(0, 0);
    }
    let sent = caller.sent_since(0);
    assert_eq!(sent[..3], [8572, 17_143, 25_715], "the first one spacing after the start");
    assert!(sent[69] <= 10 * MINUTE + 10, "rounding to milliseconds loses nothing: {}", sent[69]);
}

#[test]
fn a_quarter_of_the_limit_is_sent_at_once_after_idle_time() {
    // (limit, requests sent within a second after a minute without any)
    for (limit, expected) in [(1, 1), (3, 1), (4, 2), (10, 3), (30, 8), (40, 11), (60, 16)] {
        let mut caller = Caller::new(limit);
        caller.wait_until(MINUTE);
        for _ in 0..=limit {
            caller.send(100, 0);
        }
        let sent = caller.sent_since(0);
        let burst = sent.iter().filter(|sent| **sent < MINUTE + 1000).count();
        assert_eq!(burst, expected, "limit {limit}");
        // What is left is spread over the rest of the minute.
        let spread = MINUTE / u64::from(limit - limit / 4);
        let gaps: Vec<_> = sent[burst - 1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        let even = gaps.iter().all(|gap| (spread * 9 / 10..spread * 11 / 10).contains(gap));
        assert!(even, "limit {limit}: {gaps:?}");
    }
}

#[test]
fn a_new_account_has_credit_from_the_start() {
    let mut caller = Caller::new(30);
    caller.limiter.follow_idle_time(at(0));
    (0..10).for_each(|_| caller.send(0, 0));
    let sent = caller.sent_since(0);
    assert!(sent[7] < 1000 && sent[8] > 2000, "{sent:?}");
}

#[test]
fn each_idle_slot_allows_one_request_more() {
    let mut caller = Caller::new(60);
    caller.send(0, 0);
    caller.wait_until(5500);
    (0..4).for_each(|_| caller.send(0, 0));
    // The slots at 2, 3, 4 and 5 s.
    assert_eq!(caller.sent_since(0), [1000, 5500, 5550, 5600, 5650]);
    caller.send(0, 0);
    assert!((6000..6700).contains(&caller.now), "{} ms", caller.now);
}

#[test]
fn a_restart_in_order_changes_nothing_but_that_the_time_without_a_process_earns_no_credit() {
    for downtime in [0, 300, 5 * MINUTE] {
        for before in [0, 3, 8, 40] {
            let mut caller = Caller::new(30);
            caller.wait_until(2 * MINUTE);
            (0..before).for_each(|_| caller.send(100, 0));
            caller.wait_until(caller.now + 100);
            let mut restarted = Caller { limiter: caller.limiter.clone(), ..Caller::new(30) };
            (restarted.now, restarted.requests) = (caller.now, caller.requests.clone());
            restarted.restart(30, downtime, ProcessEnd::InOrder);
            let (stopped_at, started_at) = (caller.now, restarted.now);
            (0..50).for_each(|_| caller.send(100, 0));
            (0..50).for_each(|_| restarted.send(100, 0));
            let without = caller.sent_since(stopped_at).into_iter().map(|ms| ms - stopped_at);
            let with = restarted.sent_since(started_at).into_iter().map(|ms| ms - started_at);
            let differ = without.zip(with).find(|(without, with)| with.abs_diff(*without) > 100);
            assert_eq!(differ, None, "{before} requests, then {downtime} ms");
        }
    }
}

#[test]
fn after_a_kill_and_a_restart_in_order_the_requests_before_the_kill_still_count() {
    let mut caller = Caller::new(30);
    (0..30).for_each(|_| caller.send(0, 0));
    caller.restart(30, 0, ProcessEnd::Killed);
    caller.wait_until(caller.now + MINUTE - 1);
    assert_eq!(caller.limiter.state(caller.process_time()), None);
    caller.wait_until(caller.now + 1);
    assert!(caller.limiter.state(caller.process_time()).is_some());
}

#[test]
fn a_higher_limit_after_a_restart_applies_at_once() {
    let mut caller = Caller::new(1);
    caller.send(0, 0);
    caller.restart(60, 0, ProcessEnd::InOrder);
    assert_eq!(caller.limiter.next_available_at(), Some(at(1000)));
}

#[test]
fn new_settings_and_rejections_take_the_credit_away() {
    for what in ["settings", "rejection", "pause"] {
        let mut caller = Caller::new(60);
        caller.wait_until(MINUTE);
        match what {
            "settings" => caller.limiter.set_configured_limit(30, at(MINUTE)),
            "rejection" => caller.limiter.record_rejection(at(MINUTE), None, at(MINUTE)),
            _ => caller.limiter.discard_credit(at(MINUTE)),
        }
        let spacing = MINUTE / u64::from(caller.limiter.current_limit());
        (0..3).for_each(|_| caller.send(0, 0));
        let expected = [0, 1, 2].map(|slot| MINUTE + slot * spacing);
        assert_eq!(caller.sent_since(0), expected, "{what}");
    }
}

#[test]
fn time_in_which_the_limit_is_used_up_earns_no_credit() {
    let mut caller = Caller::new(8);
    for _ in 0..8 {
        caller.send(0, 0);
    }
    caller.limiter.set_announced_quota(quota(4, 60), at(caller.now));
    // Five of the eight must leave the window first; then there is one each 15 s.
    let used_until = caller.sent_since(0)[4] + MINUTE;
    caller.wait_until(used_until + 100);
    (0..3).for_each(|_| caller.send(0, 0));
    assert!(longest_gap(&caller.sent_since(used_until)) <= 15_100, "{:?}", caller.requests);
    let at_once =
        caller.sent_since(used_until).iter().filter(|sent| **sent < used_until + 7000).count();
    assert_eq!(at_once, 1, "{:?}", caller.sent_since(used_until));
}

#[test]
fn a_higher_configured_limit_applies_at_once() {
    let mut caller = Caller::new(1);
    caller.send(0, 0);
    caller.limiter.set_configured_limit(60, at(caller.now));
    assert_eq!(caller.limiter.next_available_at(), Some(at(MINUTE + 1000)));
}

#[test]
fn an_announced_quota_for_seconds_allows_no_faster_burst() {
    // (configured limit, announced quota, the time between the requests of a burst)
    let cases = [(600, quota(5, 1), 200), (30, quota(5, 1), 200), (30, quota(600, 60), 50)];
    for (limit, quota, spacing) in cases {
        let mut caller = Caller::new(limit);
        caller.limiter.set_announced_quota(quota, at(0));
        caller.wait_until(MINUTE);
        (0..7).for_each(|_| caller.send(0, 0));
        let sent = caller.sent_since(0);
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] == spacing), "{quota:?}: {sent:?}");
    }
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
    limiter.set_announced_quota(quota(10, 30), at(0));
    assert_eq!(limiter.current_limit(), 20);
    limiter.set_announced_quota(quota(1000, 30), at(0));
    assert_eq!(limiter.current_limit(), 60);
    limiter.set_announced_quota(quota(0, 30), at(0));
    assert_eq!(limiter.current_limit(), 1);
}

#[test]
fn an_announced_limit_expires_an_hour_after_its_last_announcement() {
    let mut limiter = RateLimiter::new(60, at(0));
    limiter.set_announced_quota(quota(10, 60), at(0));
    limiter.set_announced_quota(quota(10, 60), at(30 * MINUTE));
    // (minute, expected limit)
    for (now, limit) in [(30, 10), (89, 10), (90, 60)] {
        limiter.advance(at(now * MINUTE));
        assert_eq!(limiter.current_limit(), limit, "at {now} minutes");
    }
}

#[test]
fn a_rejection_halves_the_limit_which_recovers_over_time() {
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
    let quota = |requests| Some(quota(requests, 60));
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

/// What happens between two requests of a caller.
#[derive(Debug, Clone, Copy)]
enum Event {
    Idle(u64),
    Rejection,
    Announcement(u32, u64),
    Settings(u32),
    /// Another account, of which so many requests were sent just before, joins this one.
    Join(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => (0u64..5_000).prop_map(Event::Idle),
        3 => (0u64..200_000).prop_map(Event::Idle),
        1 => Just(Event::Rejection),
        1 => (0u32..50, 1u64..200).prop_map(|(requests, seconds)| Event::Announcement(requests, seconds)),
        1 => (1u32..60).prop_map(Event::Settings),
        1 => (1u32..20).prop_map(Event::Join),
    ]
}

impl Caller {
    fn apply(&mut self, event: Event) {
        let now = at(self.now);
        match event {
            Event::Idle(ms) => self.wait_until(self.now + ms),
            Event::Rejection => self.limiter.record_rejection(now, None, now),
            Event::Announcement(requests, seconds) => {
                self.limiter.set_announced_quota(quota(requests, seconds), now);
            }
            Event::Settings(limit) => self.limiter.set_configured_limit(limit, now),
            Event::Join(sent) => {
                let mut other = Self::new(sent);
                other.now = self.now;
                for _ in 0..sent {
                    other.send(300, 0);
                }
                self.wait_until(other.now);
                let in_flight = u32::try_from(other.in_flight.len()).expect("few");
                self.limiter.absorb(&other.limiter, in_flight, at(self.now));
                self.requests.append(&mut other.requests);
                self.in_flight.append(&mut other.in_flight);
            }
        }
    }
}

/// Sends as many requests as possible for six minutes. A request counts until a minute after its end, so a minute
/// in which `limit` requests are possible is longer by the latency.
fn assert_sustained_rate(mut caller: Caller, limit: u32, latency: u64, lateness: u64) {
    let start = caller.now;
    while caller.now < start + 6 * MINUTE {
        caller.send(latency, lateness);
    }
    let sent = caller.sent_since(start);
    let slowest = longest_gap(&sent);
    let after_burst = MINUTE / u64::from(limit - limit / 4);
    let bound = after_burst * 21 / 20 + latency + lateness + 1;
    assert!(slowest <= bound, "{slowest} ms after a burst, {after_burst} ms expected");
    let minute = MINUTE + latency + lateness;
    for number in 1..5 {
        let from = start + number * minute;
        let in_minute = sent.iter().filter(|ms| (from..from + minute).contains(ms)).count();
        assert!(in_minute + 1 >= limit as usize, "{in_minute} of {limit} in minute {number}");
    }
    let later: Vec<_> = sent.into_iter().filter(|ms| *ms >= start + 2 * minute).collect();
    let (slowest, spacing) = (longest_gap(&later), minute / u64::from(limit));
    let bound = spacing * 21 / 20 + lateness + 2;
    assert!(slowest <= bound, "{slowest} ms after two minutes, {spacing} ms expected");
}

proptest! {
    /// `Caller::send` checks the count. The service may receive a request at any time between the decision to
    /// send it and its end, so each such time is checked too, if the limit never changed.
    #[test]
    fn no_minute_holds_more_than_the_limit(
        limit in 1u32..60,
        events in prop::collection::vec((event(), 0u64..20_000, 0u64..100, 0.0..1.0f64), 1..200),
        changes: bool,
    ) {
        let mut caller = Caller::new(limit);
        let mut received = Vec::new();
        for (event, latency, lateness, when) in events {
            if changes || matches!(event, Event::Idle(_) | Event::Rejection) {
                caller.apply(event);
            }
            caller.send(latency, lateness);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small positive numbers")]
            received.push(caller.now + (latency as f64 * when) as u64);
        }
        received.sort_unstable();
        for (index, first) in received.iter().enumerate().filter(|_| !changes) {
            let held = received[index..].iter().take_while(|ms| **ms < first + MINUTE).count();
            prop_assert!(held <= limit as usize, "{held} requests in the minute from {first} ms");
        }
    }

    #[test]
    fn two_processes_in_a_row_keep_the_limit(
        limit in 1u32..2000,
        before in prop::collection::vec((0u64..40_000, 1usize..50), 1..30),
        killed_after in 0u64..20_000,
    ) {
        let mut caller = Caller::new(limit);
        for (idle, requests) in before {
            caller.wait_until(caller.now + idle);
            (0..requests).for_each(|_| caller.send(0, 0));
        }
        let killed_at = caller.now + killed_after;
        while caller.now < killed_at {
            caller.send(0, 0);
        }
        let mut sent: Vec<_> = caller.sent_since(0).into_iter().filter(|ms| *ms <= killed_at).collect();
        let mut next = Caller::new(limit);
        next.limiter = RateLimiter::new(limit, at(killed_at));
        next.limiter.follow_unknown_requests(at(killed_at));
        next.now = killed_at;
        while next.now < killed_at + 2 * MINUTE {
            next.send(0, 0);
        }
        sent.extend(next.sent_since(0));
        let limit = limit as usize;
        let shortest = sent.windows(limit + 1).map(|window| window[limit] - window[0]).min();
        prop_assert!(
            shortest.is_none_or(|ms| ms >= MINUTE),
            "{} requests in {shortest:?} ms",
            limit + 1
        );
        let first = killed_at + MINUTE / limit as u64 + 15_051;
        prop_assert!(next.sent_since(0)[0] <= first);
    }

    #[test]
    fn processes_that_end_in_order_keep_the_limit_whatever_the_latency(
        limit in 1u32..60,
        steps in prop::collection::vec(
            (0u64..40_000, 0usize..30, 0u64..20_000, 0u64..100, 0u64..90_000, 0u32..200), 1..20,
        ),
    ) {
        let mut caller = Caller::new(limit);
        for (idle, requests, latency, lateness, downtime, new_limit) in steps {
            caller.wait_until(caller.now + idle);
            // Asserts the count.
            (0..requests).for_each(|_| caller.send(latency, lateness));
            let limit = if new_limit < 60 { new_limit.max(1) } else { limit };
            caller.restart(limit, downtime, ProcessEnd::InOrder);
        }
        (0..20).for_each(|_| caller.send(0, 0));
    }

    #[test]
    fn processes_of_which_some_are_killed_keep_the_limit(
        limit in 1u32..200,
        steps in prop::collection::vec((0u64..40_000, 0usize..70, 0u64..30_000, any::<bool>()), 1..20),
    ) {
        let mut caller = Caller::new(limit);
        for (idle, requests, downtime, is_killed) in steps {
            caller.wait_until(caller.now + idle);
            (0..requests).for_each(|_| caller.send(0, 0));
            let end = if is_killed { ProcessEnd::Killed } else { ProcessEnd::InOrder };
            caller.restart(limit, downtime, end);
        }
        (0..20).for_each(|_| caller.send(0, 0));
    }

    #[test]
    fn a_caller_that_always_sends_gets_the_whole_limit_evenly_whatever_happened_before(
        limit in 1u32..100,
        before in prop::collection::vec((0u64..10_000, 1usize..5), 0..60),
        latency in 0u64..200,
        lateness in 0u64..10,
    ) {
        let mut caller = Caller::new(limit);
        for (idle, requests) in before {
            caller.wait_until(caller.now + idle);
            (0..requests).for_each(|_| caller.send(latency, 0));
        }
        assert_sustained_rate(caller, limit, latency, lateness);
    }
}
