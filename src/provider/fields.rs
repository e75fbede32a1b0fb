//! Fields of answers, read leniently: a value of another type than expected is dropped, not guessed
//! at. Shared by all kinds.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::job::{ProviderError, Utc};

/// Each text that is kept has at most so many bytes.
pub(super) const MAX_TEXT: usize = 8 << 10;

/// A state's word is no longer than this, or it is none.
pub(super) const MAX_WORD: usize = 256;

/// No job that we track is older; services print 1970 where there is no time.
const YEAR_2000_MS: i64 = 946_684_800_000;

/// Whether a text can be the id of an execution or a job: a few letters, digits, `_` and `-`.
pub(super) fn is_plain_id(text: &str) -> bool {
    text.len() <= 128 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// An answer's body. Only an object will do: serde would take an array too, of the values in the
/// order of our fields, and repeats a text of any length in its complaint.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ProviderError> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ProviderError::Malformed("the answer is not a JSON object".into()));
    }
    serde_json::from_slice(body)
        .map_err(|error| ProviderError::Malformed(format!("the answer cannot be read: {error}")))
}

/// Text, cut to `limit` bytes at a character's border.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// RFC 3339.
pub(super) fn time(value: Option<&Value>) -> Option<Utc> {
    plausible(Utc::parse(value?.as_str()?)?)
}

/// Milliseconds since 1970. Seconds, micro- and nanoseconds fall outside what is plausible.
pub(super) fn time_ms(value: Option<&Value>) -> Option<Utc> {
    const YEAR_10000_MS: i64 = 253_402_300_800_000;
    let ms = integer(value)?;
    plausible(Utc::from_millis((ms < YEAR_10000_MS).then_some(ms)?))
}

fn plausible(at: Utc) -> Option<Utc> {
    (at.as_millis() >= YEAR_2000_MS).then_some(at)
}

/// A whole number, which may come as text.
pub(super) fn integer(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number as a number, also if it came as text.
pub(super) fn number(value: Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(Value::Number(number)) => Some(Value::Number(number)),
            Ok(_) | Err(_) => None,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// No run is longer than this.
const LONGEST_RUN: Duration = Duration::from_hours(400 * 24);

/// The milliseconds that a run took.
pub(super) fn took_ms(value: Option<&Value>) -> Option<Duration> {
    millis(value).filter(is_run)
}

/// A span in milliseconds.
pub(super) fn millis(value: Option<&Value>) -> Option<Duration> {
    u64::try_from(integer(value)?).ok().map(Duration::from_millis)
}

/// The seconds that a run took, which may have a fraction.
pub(super) fn took_s(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(is_run)
}

fn is_run(took: &Duration) -> bool {
    !took.is_zero() && *took < LONGEST_RUN
}

/// Text that says something.
pub(super) fn text(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| !text.is_empty())
}

/// What is kept of a value: long texts are cut, numbers that were rounded are none.
pub(super) fn kept(value: Value) -> Value {
    /// From here on not every whole number has a floating-point one of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::String(text) => Value::String(cut(&text, MAX_TEXT).to_owned()),
        Value::Array(items) => Value::Array(items.into_iter().map(kept).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key, kept(value))).collect())
        }
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_none_or(|f| f.abs() >= EXACT) =>
        {
            Value::Null
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

/// What is told, under the provider's names, as far as it is kept.
pub(super) fn detail<const N: usize>(told: [(&str, Option<Value>); N]) -> Map<String, Value> {
    told.into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), kept(value?))))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// Text, number or boolean, as it came.
pub(super) fn plain(value: Option<Value>) -> Option<Value> {
    value.filter(|value| value.is_string() || value.is_number() || value.is_boolean())
}

/// Only these fields of an object.
pub(super) fn only(fields: &[&str], value: Option<Value>) -> Option<Value> {
    match value? {
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter(|(key, _)| fields.contains(&key.as_str())).collect(),
        )),
        other => plain(Some(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_in_the_wrong_unit_is_none() {
        let right = json!(1_509_335_108_918_i64);
        assert_eq!(time_ms(Some(&right)), Some(Utc::from_millis(1_509_335_108_918)));
        assert_eq!(time_ms(Some(&json!("1509335108918"))), time_ms(Some(&right)));
        for wrong in [
            json!(1_509_335_108),
            json!(1_509_335_108_918_000_i64),
            json!(-5),
            json!(1.5),
            json!("soon"),
            json!(null),
            json!(1e300),
        ] {
            assert_eq!(time_ms(Some(&wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_run_takes_some_time_and_not_years() {
        let right = Some(Duration::from_millis(34));
        assert_eq!((took_ms(Some(&json!(34))), took_ms(Some(&json!("34")))), (right, right));
        assert_eq!(took_s(0.034), right);
        for wrong in [json!(0), json!(-5), json!(400 * 86_400_000_i64), json!(1.5), json!(null)] {
            assert_eq!(took_ms(Some(&wrong)), None, "{wrong}");
        }
        for wrong in [0.0, -0.5, 400.0 * 86400.0, 1e300, f64::NAN] {
            assert_eq!(took_s(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_may_be_text_and_text_is_no_number() {
        assert_eq!(number(json!("9007199254740993")), Some(json!(9_007_199_254_740_993_i64)));
        assert_eq!(number(json!("0.5")), Some(json!(0.5)));
        assert_eq!(number(json!("many")), None);
        assert_eq!(integer(Some(&json!("18446744073709551616"))), None);
    }
}
