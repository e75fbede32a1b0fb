//! Rate limits in response headers: `Retry-After` (RFC 9110), `RateLimit` and `RateLimit-Policy`
//! ([`rate_limit_fields`]), and the older `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
//!
//! Used by `http` for every response. A value that cannot be parsed is ignored.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::job::{RateLimitInfo, RateLimitPolicy, UtcTime};

use super::rate_limit_fields::{self, lines};

/// Reads all headers. `now` is the provider's clock if the response has a `Date`, else the local clock: times in
/// headers are by the provider's clock.
pub(super) fn parse(headers: &HeaderMap, status: StatusCode, now: UtcTime) -> RateLimitInfo {
    let retry_after = retry_after(headers, now);
    if !headers.keys().any(|name| is_rate_limit(name.as_str())) {
        return RateLimitInfo { retry_after, ..RateLimitInfo::default() };
    }
    let mut windows = rate_limit_fields::windows(headers);
    windows.extend(older_window(headers, status, now));
    RateLimitInfo {
        retry_after,
        quota: lowest_rate(rate_limit_fields::policies(headers)),
        remaining: most_restrictive(windows),
    }
}

/// Whether a header may be one of those that this module reads, apart from `Retry-After`.
fn is_rate_limit(name: &str) -> bool {
    name.contains("ratelimit") || name.contains("rate-limit")
}

/// The provider's clock: the header `Date`.
pub(super) fn server_date(headers: &HeaderMap) -> Option<UtcTime> {
    parse_http_date(headers.get("date")?.to_str().ok()?)
}

/// The longest of several values. A time in the past gives zero, which the caller raises to its minimum.
fn retry_after(headers: &HeaderMap, now: UtcTime) -> Option<Duration> {
    lines(headers, "retry-after")
        .filter_map(|text| {
            parse_date(text).map(|at| at.duration_since(now)).or(parse_seconds(text))
        })
        .max()
}

/// The policy with the lowest rate.
fn lowest_rate(policies: Vec<RateLimitPolicy>) -> Option<RateLimitPolicy> {
    let rate = |quota: &RateLimitPolicy| f64::from(quota.requests) / quota.window.as_secs_f64();
    policies.into_iter().min_by(|a, b| rate(a).total_cmp(&rate(b)))
}

/// The window that allows the next request last: of those that are used up, the one that is renewed last.
/// Without any that is used up, the one with the fewest requests left.
fn most_restrictive(windows: Vec<(u32, Duration)>) -> Option<(u32, Duration)> {
    let used_up = windows.iter().filter(|(left, _)| *left == 0).max_by_key(|(_, reset)| *reset);
    used_up.copied().or_else(|| windows.into_iter().min())
}

/// The window of the older headers, which have several spellings. A 429 with a reset time alone means that
/// nothing is left.
fn older_window(headers: &HeaderMap, status: StatusCode, now: UtcTime) -> Option<(u32, Duration)> {
    let first = |suffix: &str| {
        ["x-ratelimit-", "x-rate-limit-", "ratelimit-"]
            .iter()
            .find_map(|prefix| lines(headers, &format!("{prefix}{suffix}")).next())
    };
    let reset = match first("reset-after").and_then(parse_seconds) {
        Some(reset) => reset,
        None => parse_reset(first("reset")?, now)?,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and negative numbers count as zero"
    )]
    let remaining = first("remaining").and_then(parse_number).map(|left| left.max(0.0) as u32);
    let nothing_left = (status == StatusCode::TOO_MANY_REQUESTS).then_some(0);
    Some((remaining.or(nothing_left)?, reset))
}

/// A time of day or a time span: the headers were never standardized. Numbers beyond a hundred million count
/// from 1970, in seconds or milliseconds.
fn parse_reset(text: &str, now: UtcTime) -> Option<Duration> {
    const EARLIEST_EPOCH_SECONDS: f64 = 1e8;
    const EARLIEST_EPOCH_MILLIS: f64 = 1e11;
    if let Some(at) = parse_date(text) {
        return Some(at.duration_since(now));
    }
    let number = parse_number(text)?;
    let millis = match number {
        EARLIEST_EPOCH_MILLIS.. => number,
        EARLIEST_EPOCH_SECONDS.. => number * 1000.0,
        _ => return parse_seconds(text),
    };
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let at = UtcTime::from_millis(millis as i64);
    Some(at.duration_since(now))
}

fn parse_seconds(text: &str) -> Option<Duration> {
    parse_number(text).map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

/// Rust parses "inf" and "NaN" as numbers.
fn parse_number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn parse_date(text: &str) -> Option<UtcTime> {
    parse_http_date(text).or_else(|| UtcTime::parse_rfc3339(text.trim()))
}

fn parse_http_date(text: &str) -> Option<UtcTime> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    let since_epoch = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UtcTime::from_millis(i64::try_from(since_epoch.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    type HeaderPairs = &'static [(&'static str, &'static str)];

    /// The requests left, and the seconds until the window is renewed.
    type LeftAndReset = (u32, u64);

    fn parse_pairs(status: u16, pairs: &[(&'static str, &str)]) -> RateLimitInfo {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        let now = UtcTime::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time");
        parse(&headers, StatusCode::from_u16(status).expect("a status"), now)
    }

    #[test]
    fn retry_after_is_parsed_in_every_format() {
        let s = Duration::from_secs;
        let cases: [(&[&str], Option<Duration>); 15] = [
            (&["7"], Some(s(7))),
            (&[" 7 "], Some(s(7))),
            (&["1.5"], Some(Duration::from_millis(1500))),
            (&["0"], Some(s(0))),
            (&["-5"], Some(s(0))),
            (&["99999999999999999999"], Some(s(1_000_000_000))),
            (&["Sun, 22 Nov 2026 10:00:30 GMT"], Some(s(30))),
            (&["Sunday, 22-Nov-26 10:00:30 GMT"], Some(s(30))),
            (&["Sun Nov 22 10:00:30 2026"], Some(s(30))),
            (&["2026-11-22T10:00:30Z"], Some(s(30))),
            (&["Sun, 22 Nov 2026 09:00:00 GMT"], Some(s(0))),
            (&["soon"], None),
            (&["", "NaN"], None),
            (&["3", "9"], Some(s(9))),
            (&["soon", "4"], Some(s(4))),
        ];
        for (values, expected) in cases {
            let pairs: Vec<_> = values.iter().map(|value| ("retry-after", *value)).collect();
            for status in [200, 403, 429, 500, 503] {
                assert_eq!(parse_pairs(status, &pairs).retry_after, expected, "{values:?}");
            }
        }
    }

    #[test]
    fn rate_limit_policies_are_structured_fields() {
        // (headers, requests and seconds of the quota)
        let cases: [(HeaderPairs, Option<(u32, u64)>); 17] = [
            (&[("ratelimit-policy", "\"high\";q=40;w=60")], Some((40, 60))),
            // 7 a minute is less than 40.
            (
                &[("ratelimit-policy", "\"high\";q=40;w=60, \"day\";q=10000;w=86400")],
                Some((10_000, 86_400)),
            ),
            (&[("ratelimit-policy", "\"a,b;q=1;w=99\";q=40;w=60")], Some((40, 60))),
            (&[("ratelimit-policy", "\"a\\\"b, c\" ; q=40 ;w=60")], None),
            (&[("ratelimit-policy", "\"a\\\"b, c\";  q=40; w=60;pk=:cHNk:")], Some((40, 60))),
            (&[("ratelimit-policy", "high;q=40;w=60")], Some((40, 60))),
            (&[("ratelimit-policy", "100;w=60")], Some((100, 60))),
            (&[("ratelimit-policy", "10;w=1, 50;w=60;comment=\"a, b\"")], Some((50, 60))),
            (&[("ratelimit-policy", "\"x\";q=5;w=60;qu=\"content-bytes\"")], None),
            (&[("ratelimit-policy", "\"x\";q=5;w=60;qu=\"requests\"")], Some((5, 60))),
            (&[("ratelimit-policy", "\"x\";q=5000000000;w=60")], Some((u32::MAX, 60))),
            (
                &[("ratelimit-policy", "\"a\";q=9;w=60"), ("ratelimit-policy", "\"b\";q=8;w=60")],
                Some((8, 60)),
            ),
            (
                &[("ratelimit-policy", "\"a;q=9;w=60"), ("ratelimit-policy", "\"b\";q=8;w=60")],
                Some((8, 60)),
            ),
            (&[("ratelimit-policy", "\"high\";q=5;w=0")], None),
            (&[("ratelimit-policy", "\"high\";q=-1;w=5")], None),
            (&[("ratelimit-policy", "\"high\";q=x;w=60")], None),
            (&[("ratelimit-policy", "")], None),
        ];
        for (headers, expected) in cases {
            let quota = parse_pairs(200, headers).quota;
            let found = quota.map(|quota| (quota.requests, quota.window.as_secs()));
            assert_eq!(found, expected, "{headers:?}");
        }
    }

    #[test]
    fn the_most_restrictive_window_applies() {
        // (status, headers, requests left and seconds until the window is renewed)
        let cases: [(u16, HeaderPairs, Option<LeftAndReset>); 27] = [
            (200, &[("ratelimit", "\"high\";r=3;t=12")], Some((3, 12))),
            (200, &[("ratelimit", "\"a\";r=0;t=2, \"b\";r=0;t=50, \"c\";r=1;t=99")], Some((0, 50))),
            (200, &[("ratelimit", "\"a\";r=7;t=2, \"b\";r=5;t=50")], Some((5, 50))),
            (200, &[("ratelimit", "\"a, b;r=0\";r=3;t=12")], Some((3, 12))),
            (
                200,
                &[("ratelimit", "\"a\";r=0"), ("ratelimit-policy", "\"a\";q=5;w=30")],
                Some((0, 30)),
            ),
            (200, &[("ratelimit", "\"a\";r=0"), ("ratelimit-policy", "\"b\";q=5;w=30")], None),
            (200, &[("ratelimit", "limit=100, remaining=3, reset=12")], Some((3, 12))),
            (200, &[("ratelimit", "high")], None),
            (200, &[("ratelimit", "3")], None),
            (
                429,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795341660")],
                Some((0, 60)),
            ),
            (
                429,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795341660000")],
                Some((0, 60)),
            ),
            (429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "60")], Some((0, 60))),
            (
                429,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795341660.5")],
                Some((0, 60)),
            ),
            (
                429,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795341000")],
                Some((0, 0)),
            ),
            (
                429,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2026-11-22T10:01:00Z")],
                Some((0, 60)),
            ),
            (
                429,
                &[
                    ("x-rate-limit-remaining", "0"),
                    ("x-rate-limit-reset", "Sun, 22 Nov 2026 10:01:00 GMT"),
                ],
                Some((0, 60)),
            ),
            (200, &[("x-rate-limit-remaining", "4"), ("x-rate-limit-reset", "60")], Some((4, 60))),
            (200, &[("ratelimit-remaining", "4"), ("ratelimit-reset", "60")], Some((4, 60))),
            (
                200,
                &[
                    ("x-ratelimit-remaining", "4"),
                    ("x-ratelimit-reset", "1795341660"),
                    ("x-ratelimit-reset-after", "7.5"),
                ],
                Some((4, 7)),
            ),
            (429, &[("x-ratelimit-reset", "60")], Some((0, 60))),
            (200, &[("x-ratelimit-reset", "60")], None),
            (200, &[("x-ratelimit-remaining", "0")], None),
            (200, &[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "60")], Some((0, 60))),
            (200, &[("x-ratelimit-remaining", "many"), ("x-ratelimit-reset", "60")], None),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "soon")], None),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "NaN")], None),
            (
                200,
                &[
                    ("ratelimit", "\"a\";r=0;t=5"),
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "60"),
                ],
                Some((0, 60)),
            ),
        ];
        for (status, headers, expected) in cases {
            let remaining = parse_pairs(status, headers).remaining;
            let found = remaining.map(|(left, reset)| (left, reset.as_secs()));
            assert_eq!(found, expected, "{status} {headers:?}");
        }
    }
}
