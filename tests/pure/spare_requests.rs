//! When the rate limiter allows a request that nothing requires.

use jobtrack::job::MonotonicTime;
use jobtrack::policy::RateLimiter;

fn at(ms: u64) -> MonotonicTime {
    MonotonicTime::from_millis(ms)
}

/// A limiter of 60 requests per minute that has been idle for so long; its burst is 15 requests.
fn idle_limiter(idle_ms: u64) -> RateLimiter {
    let mut limiter = RateLimiter::new(60, at(0));
    limiter.acquire(at(1000));
    limiter.complete(at(1000));
    limiter.advance(at(2000 + idle_ms));
    limiter
}

fn send(limiter: &mut RateLimiter, now: MonotonicTime) {
    limiter.acquire(now);
    limiter.complete(now);
}

/// When spare requests are sent by a caller that sends each as soon as it may, from `now` on, in milliseconds.
fn spare_times(limiter: &mut RateLimiter, now: u64, count: usize) -> Vec<u64> {
    let mut now = at(now);
    let mut send_next = || {
        now = now.max(limiter.next_spare_at().expect("nothing is in flight"));
        send(limiter, now);
        now.as_millis()
    };
    (0..count).map(|_| send_next()).collect()
}

#[test]
fn half_of_the_credit_is_spent_at_once_and_the_rest_stays_for_others() {
    let mut limiter = idle_limiter(60_000);
    let sent = spare_times(&mut limiter, 62_000, 7);
    assert!(sent.iter().all(|at| *at <= 62_500), "{sent:?}");
    assert!(limiter.next_spare_at().expect("nothing is in flight") >= at(63_000));
    // The other half of the credit is there for a request that something requires.
    for _ in 0..6 {
        let now = limiter.next_available_at().expect("nothing is in flight").max(at(62_500));
        assert!(now <= at(63_000), "{now:?}");
        send(&mut limiter, now);
    }
}

#[test]
fn without_credit_spare_requests_are_spaced_evenly_over_four_fifths_of_the_limit() {
    let mut limiter = RateLimiter::new(60, at(0));
    let sent = spare_times(&mut limiter, 0, 200);
    assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= 1249), "{sent:?}");
    for from in &sent {
        let in_minute = sent.iter().filter(|at| (*from..from + 60_000).contains(at)).count();
        assert!(in_minute <= 48, "{in_minute} in the minute from {from}");
    }
    let last_minutes = sent.iter().filter(|at| **at >= 60_000).count();
    let seconds = (sent.last().expect("some") - 60_000) / 1000;
    assert!(last_minutes as u64 * 60 / seconds >= 46, "{last_minutes} in {seconds} s");
}

#[test]
fn all_requests_count_towards_the_four_fifths() {
    for (required, is_left) in [(30, true), (47, true), (48, false), (55, false)] {
        let mut limiter = RateLimiter::new(60, at(0));
        // One each second.
        (1..=required).for_each(|second| send(&mut limiter, at(second * 1000)));
        let spare_at = limiter.next_spare_at().expect("nothing is in flight");
        // With 48 requests, the first of them must leave the minute, with 49 the first two.
        let expected =
            if is_left { required * 1000 + 1250 } else { (required - 47) * 1000 + 60_000 };
        assert_eq!(spare_at, at(expected), "after {required} requests");
        assert_eq!(limiter.has_spare_requests(), is_left, "after {required} requests");
    }
}

#[test]
fn requests_that_use_the_reserve_do_not_count_towards_the_four_fifths() {
    let mut limiter = RateLimiter::new(60, at(0));
    for second in 1..=50 {
        if second <= 5 {
            limiter.use_reserve(at(second * 1000));
        }
        send(&mut limiter, at(second * 1000));
    }
    assert!(limiter.has_spare_requests(), "45 of 48 count");
    (51..=53).for_each(|second| send(&mut limiter, at(second * 1000)));
    assert!(!limiter.has_spare_requests(), "48 of 48 count");
    // After a burst that used the reserve, what is left of the limit is spread over the minute.
    let mut limiter = idle_limiter(60_000);
    for _ in 0..16 {
        let now = limiter.next_available_at().expect("nothing is in flight").max(at(62_000));
        limiter.use_reserve(now);
        send(&mut limiter, now);
    }
    let sent = spare_times(&mut limiter, 63_000, 50);
    let in_minute = sent.iter().filter(|at| **at < 122_000).count();
    assert!((42..=44).contains(&in_minute), "{in_minute} of the 44 that the burst left: {sent:?}");
}

#[test]
fn a_limit_of_one_request_per_minute_has_no_spare_requests() {
    let limiter = RateLimiter::new(1, at(0));
    assert_eq!(limiter.next_spare_at(), None);
    assert!(!limiter.has_spare_requests());
    let limiter = RateLimiter::new(2, at(0));
    assert!(limiter.next_spare_at().is_some());
}

#[test]
fn no_spare_request_is_sent_while_four_fifths_are_in_flight() {
    let mut limiter = RateLimiter::new(5, at(0));
    for number in 1..=4 {
        limiter.acquire(at(number * 12_000));
    }
    assert_eq!(limiter.next_spare_at(), None);
    limiter.complete(at(60_000));
    assert!(limiter.next_spare_at().expect("one has ended") >= at(120_000));
}
