//! Points in time: [`UtcTime`] for records, [`MonotonicTime`] for the schedule.
//!
//! Both count whole milliseconds. The I/O modules read the clocks and pass the times as arguments. The
//! wall clock may jump, so poll intervals are computed from [`MonotonicTime`] only. The exception is a
//! stored due time, whose wait the tracker bounds.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time by the wall clock, in UTC. Limited to the years 0 to 9999, so that the text forms
/// sort in order of time.
///
/// Counts milliseconds from one before the year 0, so that an [`Option`] takes no more space than a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime(NonZeroU64);

impl UtcTime {
    /// 0000-01-01T00:00Z.
    const MIN_MS: i64 = -62_167_219_200_000;
    /// 9999-12-30T22:00Z, the last whole second of [`jiff::Timestamp`].
    const MAX_MS: i64 = 253_402_207_200_000;

    /// 2026-01-01. A clock that shows an earlier time was not set.
    pub const EARLIEST_PRESENT: Self = Self::within_limits(1_767_225_600_000);

    /// `ms` since 1970, which must not be before the year 0.
    const fn within_limits(ms: i64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(ms.abs_diff(Self::MIN_MS)))
    }

    /// `ms` since 1970, clamped to the years 0 to 9999.
    #[must_use]
    pub fn from_millis(ms: i64) -> Self {
        Self::within_limits(ms.clamp(Self::MIN_MS, Self::MAX_MS))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        Self::MIN_MS.saturating_add_unsigned(self.0.get() - 1)
    }

    /// Parses RFC 3339; a fraction is truncated to milliseconds. None if the zone is missing.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at: Timestamp = text.parse().ok()?;
        Some(Self::from_millis(at.as_millisecond()))
    }

    /// The basic form of ISO 8601 in whole seconds, `20261121T231705Z`.
    #[must_use]
    pub fn to_iso8601_basic(self) -> String {
        self.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.as_millis().saturating_add(ms))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.as_millis().saturating_sub(ms))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The same time as a [`Timestamp`].
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.as_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// RFC 3339 with milliseconds, `2026-11-21T23:17:05.123Z`, as in the API.
impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl fmt::Debug for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).ok_or_else(|| {
            de::Error::custom("expected a time in RFC 3339, such as 2026-11-21T23:17:05Z")
        })
    }
}

/// A point in time by a clock that never jumps, in milliseconds since the start of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(u64);

impl MonotonicTime {
    #[must_use]
    pub fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Rounds `duration` up to a whole millisecond, so that no wait is too short.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let ms = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// Not earlier than the start of the clock.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The present, as passed to the pure modules.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    pub monotonic: MonotonicTime,
    pub utc: UtcTime,
    /// A random number, uniform in `0.0..1.0`.
    pub jitter: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_formats_rfc3339() {
        let cases = [
            ("2022-08-29T06:33:24.916543331Z", "2022-08-29T06:33:24.916Z"),
            ("2022-08-29T06:33:24.91Z", "2022-08-29T06:33:24.910Z"),
            ("2022-08-29T06:33:24Z", "2022-08-29T06:33:24.000Z"),
            ("2022-08-29T08:33:24+02:00", "2022-08-29T06:33:24.000Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ];
        for (text, formatted) in cases {
            let at = UtcTime::parse_rfc3339(text).expect(text);
            assert_eq!(at.to_string(), formatted);
            assert_eq!(UtcTime::parse_rfc3339(formatted), Some(at), "{text}");
        }
        let not_times = ["", "yesterday", "2022-13-01T00:00:00Z", "12345", "2022-08-29T06:33:24"];
        for text in not_times {
            assert_eq!(UtcTime::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn extremes_are_clamped_and_printable() {
        for ms in [i64::MIN, -1, 0, i64::MAX] {
            let at = UtcTime::from_millis(ms);
            assert_eq!(UtcTime::parse_rfc3339(&at.to_string()), Some(at), "{ms}");
            assert_eq!(at.to_string().len(), 24);
        }
        assert_eq!(UtcTime::from_millis(5).duration_since(UtcTime::from_millis(9)), Duration::ZERO);
        assert_eq!(
            MonotonicTime::from_millis(1).plus(Duration::from_micros(10)),
            MonotonicTime::from_millis(2)
        );
    }
}
