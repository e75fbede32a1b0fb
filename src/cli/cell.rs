//! The value in a cell, as text for people, as text for programs, and as a key to sort by.
//!
//! The columns compute cells; tables, CSV and `--sort` read them.

use std::cmp::Ordering;
use std::time::Duration;

use super::time_format::TimeFormat;
use crate::escape::escape_unprintable;
use crate::job::{UtcTime, format_short_duration};

/// A value with its unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Unknown, or not known yet.
    Missing,
    Text(String),
    Integer(i64),
    Decimal(f64),
    /// A point in time.
    Time(UtcTime),
    /// A time, and how people read it: `in 5s`.
    TimeAhead {
        at: UtcTime,
        text: String,
    },
    /// A duration.
    Seconds(f64),
    /// The duration so far of something that goes on.
    SecondsSoFar(f64),
}

impl Cell {
    pub(super) fn text(value: Option<impl Into<String>>) -> Self {
        let text = value.map(Into::into).filter(|text: &String| !text.is_empty());
        text.map_or(Self::Missing, Self::Text)
    }

    pub(super) fn time(at: Option<UtcTime>) -> Self {
        at.map_or(Self::Missing, Self::Time)
    }

    pub(super) fn seconds(seconds: Option<f64>) -> Self {
        seconds.map_or(Self::Missing, Self::Seconds)
    }

    /// For people. The table escapes unprintable characters.
    pub(super) fn to_text(&self, times: &TimeFormat) -> String {
        match self {
            Self::Missing => "-".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Decimal(number) => number.to_string(),
            Self::Time(at) => times.format(*at),
            Self::TimeAhead { text, .. } => text.clone(),
            Self::Seconds(seconds) | Self::SecondsSoFar(seconds) => short_duration(*seconds),
        }
    }

    /// For programs: durations in seconds, nothing if the value is unknown or not final.
    pub(super) fn to_csv(&self, times: &TimeFormat) -> String {
        match self {
            Self::Missing | Self::SecondsSoFar(_) => String::new(),
            Self::Text(text) => escape_unprintable(text),
            Self::Integer(number) => number.to_string(),
            Self::Decimal(number) | Self::Seconds(number) => number.to_string(),
            Self::Time(at) | Self::TimeAhead { at, .. } => times.format(*at),
        }
    }

    /// The order of two cells of a column; unknown values are last in both directions.
    pub(super) fn order(&self, other: &Self, descending: bool) -> Ordering {
        let (first, second) = (self.sort_key(), other.sort_key());
        let is_missing = (*self == Self::Missing).cmp(&(*other == Self::Missing));
        let by_value = first.0.total_cmp(&second.0).then_with(|| first.1.cmp(second.1));
        is_missing.then(if descending { by_value.reverse() } else { by_value })
    }

    /// A number, and a text if the cell has one.
    #[expect(clippy::cast_precision_loss, reason = "ids and milliseconds are below 2^53")]
    fn sort_key(&self) -> (f64, &str) {
        match self {
            Self::Missing => (0.0, ""),
            Self::Text(text) => (0.0, text),
            Self::Integer(number) => (*number as f64, ""),
            Self::Time(at) | Self::TimeAhead { at, .. } => (at.as_millis() as f64, ""),
            Self::Decimal(number) | Self::Seconds(number) | Self::SecondsSoFar(number) => {
                (*number, "")
            }
        }
    }
}

fn short_duration(seconds: f64) -> String {
    format_short_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_last_in_both_directions() {
        let cells =
            [Cell::Seconds(2.0), Cell::Missing, Cell::SecondsSoFar(10.0), Cell::Seconds(3.0)];
        for (descending, expected) in [(false, [2.0, 3.0, 10.0]), (true, [10.0, 3.0, 2.0])] {
            let mut sorted = cells.to_vec();
            sorted.sort_by(|first, second| first.order(second, descending));
            let numbers: Vec<_> = sorted.iter().map(|cell| cell.sort_key().0).collect();
            assert_eq!(numbers[..3], expected);
            assert_eq!(sorted[3], Cell::Missing);
        }
    }

    #[test]
    fn a_duration_that_is_not_final_is_text_for_people_only() {
        let times = TimeFormat::new(false).expect("UTC");
        assert_eq!(Cell::SecondsSoFar(192.0).to_text(&times), "3m12s");
        assert_eq!(Cell::SecondsSoFar(192.0).to_csv(&times), "");
        assert_eq!(Cell::Seconds(0.41).to_text(&times), "0.4s");
        assert_eq!(Cell::Seconds(0.41).to_csv(&times), "0.41");
        assert_eq!(Cell::Seconds(5.0).to_text(&times), "5s");
        assert_eq!(Cell::Seconds(9.96).to_text(&times), "10s");
    }
}
