//! Reads kept fields of JSON responses. A value of an unexpected type is dropped, never converted by a guess.
//!
//! Used by every kind. All text that is kept is limited in length.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::job::UtcTime;

/// The limit for each text that is kept.
pub(super) const MAX_TEXT_BYTES: usize = 8 << 10;

/// A longer provider state makes the answer malformed.
pub(super) const MAX_PROVIDER_STATE_BYTES: usize = 256;

/// An earlier time means that there is none: Dune writes 1970-01-01 for "none".
const YEAR_2000_MS: i64 = 946_684_800_000;

/// Whether a text can be an id of Dune or DLI: at most 128 ASCII letters, digits, `_` and `-`.
pub(super) fn is_ascii_id(text: &str) -> bool {
    text.len() <= 128 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The end of a kept text that was cut.
pub(super) const CUT_MARK: &str = "\u{2026} [cut]";

/// Text within [`MAX_TEXT_BYTES`]: longer text is cut at the boundary of a character and marked.
pub(super) fn limit_text(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    format!("{}{CUT_MARK}", truncate(text, MAX_TEXT_BYTES - CUT_MARK.len()))
}

/// Cuts text to at most `max_bytes`, at the boundary of a character.
pub(super) fn truncate(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// A time in RFC 3339.
pub(super) fn parse_rfc3339(value: Option<&Value>) -> Option<UtcTime> {
    plausible_time(UtcTime::parse_rfc3339(value?.as_str()?)?)
}

/// A time in milliseconds since 1970. Seconds, microseconds and nanoseconds give an implausible time.
pub(super) fn parse_epoch_ms(value: Option<&Value>) -> Option<UtcTime> {
    const YEAR_10000_MS: i64 = 253_402_300_800_000;
    let ms = parse_integer(value)?;
    plausible_time(UtcTime::from_millis((ms < YEAR_10000_MS).then_some(ms)?))
}

fn plausible_time(at: UtcTime) -> Option<UtcTime> {
    (at.as_millis() >= YEAR_2000_MS).then_some(at)
}

/// A whole number, or text that is one: rows of DLI's list contain numbers as text.
pub(super) fn parse_integer(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number, or text that is one, as a number.
pub(super) fn parse_number(value: Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(Value::Number(number)) => Some(Value::Number(number)),
            Ok(_) | Err(_) => None,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A longer duration of a run is implausible.
const MAX_RUN_DURATION: Duration = Duration::from_hours(400 * 24);

/// The duration of a run in milliseconds.
pub(super) fn parse_run_duration_ms(value: Option<&Value>) -> Option<Duration> {
    parse_duration_ms(value).filter(is_plausible_run)
}

/// A duration in milliseconds.
pub(super) fn parse_duration_ms(value: Option<&Value>) -> Option<Duration> {
    u64::try_from(parse_integer(value)?).ok().map(Duration::from_millis)
}

/// The duration of a run in seconds.
pub(super) fn run_duration_from_secs(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(is_plausible_run)
}

fn is_plausible_run(duration: &Duration) -> bool {
    !duration.is_zero() && *duration < MAX_RUN_DURATION
}

/// Text that is not empty.
pub(super) fn non_empty_str(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| !text.is_empty())
}

/// Cuts long texts, and replaces numbers that lost precision in parsing with null.
pub(super) fn sanitize(value: Value) -> Value {
    /// 2^53. Larger whole numbers are not all exact as floating point.
    const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::String(text) => Value::String(limit_text(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(sanitize).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key, sanitize(value))).collect())
        }
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_none_or(|f| f.abs() >= MAX_EXACT_INTEGER) =>
        {
            Value::Null
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => scalar,
    }
}

/// The detail of a job: the present fields, under the names of the service.
pub(super) fn collect_detail<const N: usize>(
    fields: [(&str, Option<Value>); N],
) -> Map<String, Value> {
    fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), sanitize(value?))))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// Text, a number or a boolean; `None` for anything else.
pub(super) fn scalar_only(value: Option<Value>) -> Option<Value> {
    value.filter(|value| value.is_string() || value.is_number() || value.is_boolean())
}

/// An object reduced to these fields, or a scalar unchanged.
pub(super) fn select_fields(fields: &[&str], value: Option<Value>) -> Option<Value> {
    match value? {
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter(|(key, _)| fields.contains(&key.as_str())).collect(),
        )),
        other => scalar_only(Some(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_in_the_wrong_unit_are_rejected() {
        let valid = json!(1_509_335_108_918_i64);
        assert_eq!(parse_epoch_ms(Some(&valid)), Some(UtcTime::from_millis(1_509_335_108_918)));
        assert_eq!(parse_epoch_ms(Some(&json!("1509335108918"))), parse_epoch_ms(Some(&valid)));
        for invalid in [
            json!(1_509_335_108),
            json!(1_509_335_108_918_000_i64),
            json!(-5),
            json!(1.5),
            json!("soon"),
            json!(null),
            json!(1e300),
        ] {
            assert_eq!(parse_epoch_ms(Some(&invalid)), None, "{invalid}");
        }
    }

    #[test]
    fn implausible_run_durations_are_rejected() {
        let valid = Some(Duration::from_millis(34));
        assert_eq!(
            (parse_run_duration_ms(Some(&json!(34))), parse_run_duration_ms(Some(&json!("34")))),
            (valid, valid)
        );
        assert_eq!(run_duration_from_secs(0.034), valid);
        for invalid in [json!(0), json!(-5), json!(400 * 86_400_000_i64), json!(1.5), json!(null)] {
            assert_eq!(parse_run_duration_ms(Some(&invalid)), None, "{invalid}");
        }
        for invalid in [0.0, -0.5, 400.0 * 86400.0, 1e300, f64::NAN] {
            assert_eq!(run_duration_from_secs(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn numeric_strings_are_numbers_and_other_text_is_not() {
        assert_eq!(parse_number(json!("9007199254740993")), Some(json!(9_007_199_254_740_993_i64)));
        assert_eq!(parse_number(json!("0.5")), Some(json!(0.5)));
        assert_eq!(parse_number(json!("many")), None);
        assert_eq!(parse_integer(Some(&json!("18446744073709551616"))), None);
    }
}
