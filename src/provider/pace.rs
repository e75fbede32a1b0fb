//! What response headers tell of limits: `Retry-After` (RFC 9110), `RateLimit` and
//! `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers). Read leniently: what makes no sense is
//! as if it were not there.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::job::{Pace, Quota, Utc};

/// Reads all three. `now` is the provider's clock if it told it, else ours: a date in `Retry-After`
/// is by the provider's.
pub(super) fn read(headers: &HeaderMap, now: Utc) -> Pace {
    Pace { retry_after: retry_after(headers, now), quota: quota(headers), left: left(headers) }
}

/// The provider's clock, from the `Date` header.
pub(super) fn server_date(headers: &HeaderMap) -> Option<Utc> {
    http_date(headers.get("date")?.to_str().ok()?)
}

/// Of several, the longest; a time that is past is zero, so that the caller's lower bound holds.
fn retry_after(headers: &HeaderMap, now: Utc) -> Option<Duration> {
    values(headers, "retry-after")
        .filter_map(|text| {
            if let Some(at) = http_date(text) {
                return Some(at.since(now));
            }
            let seconds: f64 = text.trim().parse().ok()?;
            // Beyond any bound of ours, but still a number: "inf" is none.
            seconds.is_finite().then(|| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
        })
        .max()
}

/// Of several policies the one that allows least over time.
fn quota(headers: &HeaderMap) -> Option<Quota> {
    values(headers, "ratelimit-policy")
        .flat_map(|text| text.split(','))
        .filter_map(|policy| {
            let requests = parameter(policy, "q")?;
            let window = parameter(policy, "w").filter(|seconds| *seconds > 0)?;
            Some(Quota { requests, window: Duration::from_secs(window.into()) })
        })
        .min_by(|a, b| {
            let rate = |quota: &Quota| f64::from(quota.requests) / quota.window.as_secs_f64();
            rate(a).total_cmp(&rate(b))
        })
}

fn left(headers: &HeaderMap) -> Option<(u32, Duration)> {
    values(headers, "ratelimit")
        .flat_map(|text| text.split(','))
        .filter_map(|item| {
            let reset = Duration::from_secs(parameter(item, "t")?.into());
            Some((parameter(item, "r")?, reset))
        })
        .min()
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// The parameter `name` of an item such as `"high";q=40;w=60`.
fn parameter(item: &str, name: &str) -> Option<u32> {
    item.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then(|| value.trim().parse().ok())?
    })
}

fn http_date(text: &str) -> Option<Utc> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Utc::from_millis(i64::try_from(since.as_millis()).ok()?))
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
    fn retry_after_in_every_form() {
        let now = Utc::parse("2026-11-22T10:00:00Z").expect("a time");
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
            assert_eq!(read(&headers(&pairs), now).retry_after, expected, "{values:?}");
        }
    }

    #[test]
    fn limits_are_read_and_nonsense_is_passed_over() {
        let now = Utc::from_millis(0);
        let pace = read(
            &headers(&[
                ("ratelimit-policy", "\"high\";q=40;w=60, \"day\";q=10000;w=86400"),
                ("ratelimit", "\"high\";r=3;t=12"),
            ]),
            now,
        );
        let day = Quota { requests: 10_000, window: Duration::from_hours(24) };
        assert_eq!(pace.quota, Some(day), "7 a minute is less than 40");
        assert_eq!(pace.left, Some((3, Duration::from_secs(12))));
        for nonsense in ["", "high", "\"high\";q=x;w=60", "\"high\";q=5;w=0", "\"high\";q=-1;w=5"] {
            let pace =
                read(&headers(&[("ratelimit-policy", nonsense), ("ratelimit", nonsense)]), now);
            assert_eq!(pace, Pace::default(), "{nonsense}");
        }
    }
}
