//! The headers `RateLimit` and `RateLimit-Policy`: structured fields (RFC 9651) in the forms of the drafts of
//! draft-ietf-httpapi-ratelimit-headers.
//!
//! Used by [`rate_limit_headers`](super::rate_limit_headers). Since draft 8 both are lists, such as
//! `"burst";q=100;w=60, "day";q=5000;w=86400`; before, the policy was a list of numbers, `100;w=60`, and
//! `RateLimit` a dictionary, `limit=100, remaining=3, reset=12`. A value that cannot be parsed is ignored.

use std::time::Duration;

use reqwest::header::HeaderMap;
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

use crate::job::RateLimitPolicy;

/// The policies that count requests.
pub(super) fn policies(headers: &HeaderMap) -> Vec<RateLimitPolicy> {
    policy_items(headers).iter().filter_map(policy).collect()
}

/// The requests that are left in each window, and the time until it is renewed. If that time is missing, it
/// is the length of the window of the policy with the same name.
pub(super) fn windows(headers: &HeaderMap) -> Vec<(u32, Duration)> {
    let policy_items = policy_items(headers);
    let window_length = |name: &BareItem| {
        let item = policy_items.iter().find(|item| item.bare_item == *name)?;
        policy(item).map(|policy| policy.window)
    };
    let listed = items(headers, "ratelimit").into_iter().filter_map(|item| {
        let reset =
            parameter(&item, "t").map(seconds).or_else(|| window_length(&item.bare_item))?;
        Some((count(parameter(&item, "r")?), reset))
    });
    listed.chain(dictionary_window(headers)).collect()
}

fn policy_items(headers: &HeaderMap) -> Vec<Item> {
    items(headers, "ratelimit-policy")
}

fn policy(item: &Item) -> Option<RateLimitPolicy> {
    // Other units, such as bytes, limit something else.
    let unit = item.params.get("qu");
    if unit.is_some_and(|unit| text(unit) != Some("requests")) {
        return None;
    }
    let quota = parameter(item, "q").or_else(|| number(&item.bare_item))?;
    let window = parameter(item, "w").filter(|length| *length > 0)?;
    Some(RateLimitPolicy { requests: count(quota), window: seconds(window) })
}

/// The form of the drafts before 8.
fn dictionary_window(headers: &HeaderMap) -> Option<(u32, Duration)> {
    let dictionary: Dictionary = Parser::new(&joined(headers, "ratelimit")).parse().ok()?;
    let value = |name| match dictionary.get(name)? {
        ListEntry::Item(item) => number(&item.bare_item),
        ListEntry::InnerList(_) => None,
    };
    Some((count(value("remaining")?), seconds(value("reset")?)))
}

/// The items of a list. If the whole field is no list, the lines that are one.
fn items(headers: &HeaderMap, name: &str) -> Vec<Item> {
    let parse = |text: &str| Parser::new(text).parse::<List>().ok();
    let whole = parse(&joined(headers, name));
    let entries =
        whole.unwrap_or_else(|| lines(headers, name).filter_map(parse).flatten().collect());
    let items = entries.into_iter().filter_map(|entry| match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    });
    items.collect()
}

fn joined(headers: &HeaderMap, name: &str) -> String {
    lines(headers, name).collect::<Vec<_>>().join(", ")
}

/// The values of a header that may occur several times.
pub(super) fn lines<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

fn parameter(item: &Item, name: &str) -> Option<i64> {
    number(item.params.get(name)?)
}

/// A whole number; a decimal is cut. Negative numbers have no meaning here.
fn number(value: &BareItem) -> Option<i64> {
    let number = match value {
        BareItem::Integer(number) => i64::from(*number),
        BareItem::Decimal(number) => i64::from(number.as_integer_scaled_1000()) / 1000,
        BareItem::String(_)
        | BareItem::Token(_)
        | BareItem::ByteSequence(_)
        | BareItem::Boolean(_)
        | BareItem::Date(_)
        | BareItem::DisplayString(_) => return None,
    };
    (number >= 0).then_some(number)
}

fn text(value: &BareItem) -> Option<&str> {
    match value {
        BareItem::String(text) => Some(text.as_str()),
        BareItem::Token(text) => Some(text.as_str()),
        BareItem::Integer(_)
        | BareItem::Decimal(_)
        | BareItem::ByteSequence(_)
        | BareItem::Boolean(_)
        | BareItem::Date(_)
        | BareItem::DisplayString(_) => None,
    }
}

fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(number.unsigned_abs().min(1_000_000_000))
}
