//! The rate limit in the text of a 429 (`APIGW.0308`) of Huawei's gateway, such as
//! `… policy user over ratelimit,limit:60,time:1 minute`.
//!
//! Used by the client. The gateway sends no header with the limit.

use std::time::Duration;

use crate::job::RateLimitPolicy;

/// The limit; `None` if the text has none, or one that makes no sense.
pub(super) fn parse_quota(text: &str) -> Option<RateLimitPolicy> {
    let value_of = |name: &str| {
        text.split([',', ';']).find_map(|part| part.trim().strip_prefix(name)?.strip_prefix(':'))
    };
    let requests = value_of("limit")?.trim().parse().ok().filter(|requests| *requests > 0)?;
    let mut time = value_of("time")?.split_whitespace();
    let count: u32 = time.next()?.parse().ok().filter(|count| *count > 0)?;
    let unit = time.next()?.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    let unit = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => Duration::from_secs(1),
        "minute" => Duration::from_mins(1),
        "hour" => Duration::from_hours(1),
        "day" => Duration::from_hours(24),
        _ => return None,
    };
    Some(RateLimitPolicy { requests, window: unit.saturating_mul(count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_parsed_and_invalid_text_is_ignored() {
        let s = |requests, seconds| Some((requests, seconds));
        let cases = [
            ("policy user over ratelimit,limit:60,time:1 minute", s(60, 60)),
            ("HTTP 429: APIGW.0308 over ratelimit,limit:60,time:1 minute", s(60, 60)),
            ("over ratelimit, limit: 5, time: 1 second", s(5, 1)),
            ("over ratelimit,limit:300,time:2 minutes.", s(300, 120)),
            ("over ratelimit,limit:1000,time:1 hour", s(1000, 3600)),
            ("over ratelimit,limit:1,time:1 day", s(1, 86_400)),
            ("over ratelimit", None),
            ("ratelimit:60,time:1 minute", None),
            ("limit:60", None),
            ("limit:0,time:1 minute", None),
            ("limit:-1,time:1 minute", None),
            ("limit:60,time:0 minute", None),
            ("limit:60,time:1", None),
            ("limit:60,time:1 moon", None),
            ("limit:99999999999,time:1 minute", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = parse_quota(text).map(|quota| (quota.requests, quota.window.as_secs()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
