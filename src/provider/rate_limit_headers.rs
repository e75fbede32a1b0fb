//! Rate limits in response headers: `Retry-After` (RFC 9110), `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers).
//!
//! Used by `http` for every response. A value that cannot be parsed is ignored.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::job::{RateLimitInfo, RateLimitPolicy, UtcTime};

/// Reads all three headers. `now` is the provider's clock if the response has a `Date`, else the local clock: a date
/// in `Retry-After` is by the provider's clock.
pub(super) fn parse(headers: &HeaderMap, now: UtcTime) -> RateLimitInfo {
    RateLimitInfo {
        retry_after: retry_after(headers, now),
        quota: quota(headers),
        remaining: remaining(headers),
    }
}

/// The provider's clock: the header `Date`.
pub(super) fn server_date(headers: &HeaderMap) -> Option<UtcTime> {
    parse_http_date(headers.get("date")?.to_str().ok()?)
}

/// The longest of several values. A time in the past gives zero, which the caller raises to its minimum.
fn retry_after(headers: &HeaderMap, now: UtcTime) -> Option<Duration> {
    header_values(headers, "retry-after")
        .filter_map(|text| {
            if let Some(at) = parse_http_date(text) {
                return Some(at.duration_since(now));
            }
            let seconds: f64 = text.trim().parse().ok()?;
            // Rust parses "inf" and "NaN" as numbers.
            seconds.is_finite().then(|| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
        })
        .max()
}

/// The policy with the lowest rate.
fn quota(headers: &HeaderMap) -> Option<RateLimitPolicy> {
    header_values(headers, "ratelimit-policy")
        .flat_map(|text| text.split(','))
        .filter_map(|policy| {
            let requests = parameter(policy, "q")?;
            let window = parameter(policy, "w").filter(|seconds| *seconds > 0)?;
            Some(RateLimitPolicy { requests, window: Duration::from_secs(window.into()) })
        })
        .min_by(|a, b| {
            let rate =
                |quota: &RateLimitPolicy| f64::from(quota.requests) / quota.window.as_secs_f64();
            rate(a).total_cmp(&rate(b))
        })
}

fn remaining(headers: &HeaderMap) -> Option<(u32, Duration)> {
    header_values(headers, "ratelimit")
        .flat_map(|text| text.split(','))
        .filter_map(|item| {
            let reset = Duration::from_secs(parameter(item, "t")?.into());
            Some((parameter(item, "r")?, reset))
        })
        .min()
}

fn header_values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// The parameter `name` of an item such as `"high";q=40;w=60`.
fn parameter(item: &str, name: &str) -> Option<u32> {
    item.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then(|| value.trim().parse().ok())?
    })
}

fn parse_http_date(text: &str) -> Option<UtcTime> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    let since_epoch = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UtcTime::from_millis(i64::try_from(since_epoch.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a header value"));
        }
        map
    }

    #[test]
    fn retry_after_is_parsed_in_every_format() {
        let now = UtcTime::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time");
        let s = Duration::from_secs;
        let cases: [(&[&str], Option<Duration>); 12] = [
            (&["7"], Some(s(7))),
            (&[" 7 "], Some(s(7))),
            (&["1.5"], Some(Duration::from_millis(1500))),
            (&["0"], Some(s(0))),
            (&["-5"], Some(s(0))),
            (&["99999999999999999999"], Some(s(1_000_000_000))),
            (&["Sun, 22 Nov 2026 10:00:30 GMT"], Some(s(30))),
            (&["Sun, 22 Nov 2026 09:00:00 GMT"], Some(s(0))),
            (&["soon"], None),
            (&["", "NaN"], None),
            (&["3", "9"], Some(s(9))),
            (&["soon", "4"], Some(s(4))),
        ];
        for (values, expected) in cases {
            let pairs: Vec<_> = values.iter().map(|value| ("retry-after", *value)).collect();
            assert_eq!(parse(&headers(&pairs), now).retry_after, expected, "{values:?}");
        }
    }

    #[test]
    fn rate_limits_are_parsed_and_invalid_headers_are_ignored() {
        let now = UtcTime::from_millis(0);
        let rate_limit = parse(
            &headers(&[
                ("ratelimit-policy", "\"high\";q=40;w=60, \"day\";q=10000;w=86400"),
                ("ratelimit", "\"high\";r=3;t=12"),
            ]),
            now,
        );
        let day = RateLimitPolicy { requests: 10_000, window: Duration::from_hours(24) };
        assert_eq!(rate_limit.quota, Some(day), "7 a minute is less than 40");
        assert_eq!(rate_limit.remaining, Some((3, Duration::from_secs(12))));
        for invalid in ["", "high", "\"high\";q=x;w=60", "\"high\";q=5;w=0", "\"high\";q=-1;w=5"] {
            let rate_limit =
                parse(&headers(&[("ratelimit-policy", invalid), ("ratelimit", invalid)]), now);
            assert_eq!(rate_limit, RateLimitInfo::default(), "{invalid}");
        }
    }
}
