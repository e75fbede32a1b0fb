//! Times as text in SQLite's own format, `2026-11-21 23:17:05.123`, UTC. The text sorts as the times
//! do and compares with `datetime('now')`.

use jiff::Timestamp;

use crate::job::UtcTime;

pub(super) fn to_sql(time: UtcTime) -> String {
    // A `UtcTime` is within the years 0 to 9999, so the conversion never fails.
    let timestamp = Timestamp::from_millisecond(time.as_millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

pub(super) fn parse_sql(text: &str) -> Option<UtcTime> {
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let timestamp = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(UtcTime::from_millis(timestamp.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_back_unchanged() {
        for (ms, text) in [
            (1_661_754_804_916, "2022-08-29 06:33:24.916"),
            (1_661_754_804_000, "2022-08-29 06:33:24.000"),
            (-1, "1969-12-31 23:59:59.999"),
            (i64::MIN, "0000-01-01 00:00:00.000"),
        ] {
            let time = UtcTime::from_millis(ms);
            assert_eq!(to_sql(time), text);
            assert_eq!(parse_sql(text), Some(time));
        }
        let last = UtcTime::from_millis(i64::MAX);
        assert_eq!(parse_sql(&to_sql(last)), Some(last));
        assert_eq!(to_sql(last).len(), 23);
    }

    #[test]
    fn other_text_is_not_a_time() {
        for text in ["", "yesterday", "2022-13-01 00:00:00.000", "12345"] {
            assert_eq!(parse_sql(text), None, "{text}");
        }
    }
}
