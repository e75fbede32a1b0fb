//! A point in time as people write it, such as `2026-11-25 15:00`, `yesterday` or `2h ago`.
//!
//! The options of the commands and the query parameters of the API are parsed here, so that both accept
//! the same forms. A parsed expression is turned into a time with the present and a time zone, which the
//! caller passes.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

use super::id::InvalidText;
use super::time::UtcTime;

/// A time, or a rule that gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeExpression {
    /// A date and time with an offset from UTC.
    Exactly(UtcTime),
    /// A date and time without a time zone; midnight if only the date was given.
    DateTime(DateTime),
    /// Midnight of today.
    Today,
    /// Midnight of yesterday.
    Yesterday,
    Now,
    /// A duration before now.
    Ago(Duration),
}

impl TimeExpression {
    /// The time that is meant at the time `now`; dates and times without a time zone are in `zone`.
    #[must_use]
    pub fn resolve(self, now: UtcTime, zone: &TimeZone) -> UtcTime {
        let midnight = |at: DateTime| DateTime::from_parts(at.date(), Time::midnight());
        let today = || midnight(zone.to_datetime(now.timestamp()));
        match self {
            Self::Exactly(at) => at,
            Self::DateTime(at) => in_zone(at, zone),
            Self::Today => in_zone(today(), zone),
            Self::Yesterday => {
                let today = today();
                let date = today.date().yesterday().unwrap_or(today.date());
                in_zone(date.into(), zone)
            }
            Self::Now => now,
            Self::Ago(duration) => now.minus(duration),
        }
    }
}

/// The first of two times that a change of the offset makes equal; the time after a gap for one within it.
fn in_zone(at: DateTime, zone: &TimeZone) -> UtcTime {
    let limit = if at.year() < 1970 { Timestamp::MIN } else { Timestamp::MAX };
    let timestamp = zone.to_timestamp(at).unwrap_or(limit);
    UtcTime::from_millis(timestamp.as_millisecond())
}

impl FromStr for TimeExpression {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let trimmed = text.trim();
        // As `jobtrack show` prints it.
        let with_offset = trimmed.strip_suffix(" UTC").map(|time| format!("{time}Z"));
        if let Some(at) = UtcTime::parse_rfc3339(with_offset.as_deref().unwrap_or(trimmed)) {
            return Ok(Self::Exactly(at));
        }
        // An annotation such as [Europe/Berlin] would be ignored.
        let date_time = Some(trimmed).filter(|text| !text.contains('['));
        if let Some(at) = date_time.and_then(|text| text.parse().ok()) {
            return Ok(Self::DateTime(at));
        }
        match trimmed {
            "today" => Ok(Self::Today),
            "yesterday" => Ok(Self::Yesterday),
            "now" => Ok(Self::Now),
            duration => {
                let duration = duration.strip_suffix("ago").unwrap_or(duration);
                let duration = humantime::parse_duration(duration.trim());
                duration.map(Self::Ago).map_err(|_| invalid_time(text))
            }
        }
    }
}

fn invalid_time(text: &str) -> InvalidText {
    InvalidText::new(format!(
        "invalid time {text:?}; use a date such as 2026-11-25, a time such as \"2026-11-25 15:00:00\" or \
         2026-11-25T15:00:00Z, today, yesterday, or a duration before now such as 2h or \"2 days ago\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-26T10:30:00.250Z";

    fn resolve(text: &str, zone: &TimeZone) -> Result<String, InvalidText> {
        let now = UtcTime::parse_rfc3339(NOW).expect("a time");
        Ok(text.parse::<TimeExpression>()?.resolve(now, zone).to_string())
    }

    #[test]
    fn a_time_is_read_in_every_form_in_which_it_is_printed() {
        for text in [
            "2026-11-25T15:00:00.123Z",
            "2026-11-25 15:00:00.123",
            "2026-11-25 15:00:00.123 UTC",
            "2026-11-25 15:00:00.123Z",
            "2026-11-25T15:00:00.123",
            "2026-11-25 16:00:00.123+01:00",
            " 2026-11-25T15:00:00.123456Z ",
        ] {
            assert_eq!(resolve(text, &TimeZone::UTC).as_deref(), Ok("2026-11-25T15:00:00.123Z"));
        }
    }

    #[test]
    fn dates_days_and_durations_before_now_are_times() {
        for (text, expected) in [
            ("2026-11-25 15:00", "2026-11-25T15:00:00.000Z"),
            ("2026-11-25", "2026-11-25T00:00:00.000Z"),
            ("today", "2026-11-26T00:00:00.000Z"),
            ("yesterday", "2026-11-25T00:00:00.000Z"),
            ("now", NOW),
            ("1h ago", "2026-11-26T09:30:00.250Z"),
            ("1h", "2026-11-26T09:30:00.250Z"),
            ("1m", "2026-11-26T10:29:00.250Z"),
            ("1M ago", "2026-10-26T23:56:24.250Z"),
            ("1h 30m ago", "2026-11-26T09:00:00.250Z"),
            ("2 days ago", "2026-11-24T10:30:00.250Z"),
            ("2d", "2026-11-24T10:30:00.250Z"),
        ] {
            assert_eq!(resolve(text, &TimeZone::UTC).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn times_without_an_offset_are_in_the_time_zone_and_others_are_not() {
        let zone = TimeZone::fixed(jiff::tz::offset(-11));
        for (text, expected) in [
            ("2026-11-25 15:00:00Z", "2026-11-25T15:00:00.000Z"),
            ("2026-11-25 15:00:00", "2026-11-26T02:00:00.000Z"),
            ("2026-11-25", "2026-11-25T11:00:00.000Z"),
            ("today", "2026-11-25T11:00:00.000Z"),
            ("yesterday", "2026-11-24T11:00:00.000Z"),
            ("9999-12-31", "9999-12-30T22:00:00.000Z"),
        ] {
            assert_eq!(resolve(text, &zone).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_an_error_that_names_the_forms() {
        let wrong =
            ["", "ago", "tomorrow", "12345", "2026-13-01", "15", "2026-11-25[Europe/Berlin]"];
        for text in wrong {
            let error = resolve(text, &TimeZone::UTC).expect_err(text).to_string();
            for form in ["2026-11-25", "T15:00:00Z", "today", "2h", "2 days ago"] {
                assert!(error.contains(form), "{error}");
            }
        }
    }
}
