//! Counts and durations in texts for people: `1 job`, `3 min 12 s`, and `3m12s` in a table.
//!
//! Pure. Used by messages of the daemon and by the output of the commands, so that both write them in the same way.
//! A value of a setting is written as the setting accepts it, by `humantime`.

use std::fmt::Display;
use std::time::Duration;

/// A number with its noun, whose plural ends in "s": `0 jobs`, `1 job`, `2 jobs`.
#[must_use]
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// In a sentence: the two largest units, with fractions of short times: `40 ms`, `1.5 s`, `45 s`, `3 min 12 s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let units = units(duration, ["d", "h", "min", "s", "ms"]);
    let parts: Vec<_> = units.into_iter().map(|(count, unit)| format!("{count} {unit}")).collect();
    parts.join(" ")
}

/// In a table: as [`format_duration`], without spaces: `40ms`, `1.5s`, `45s`, `3m12s`.
#[must_use]
pub fn format_short_duration(duration: Duration) -> String {
    let units = units(duration, ["d", "h", "m", "s", "ms"]);
    units.into_iter().flat_map(|(count, unit)| [count, unit.to_owned()]).collect()
}

fn units(duration: Duration, names: [&'static str; 5]) -> Vec<(String, &'static str)> {
    const SECONDS: [u64; 4] = [86_400, 3_600, 60, 1];
    const MILLISECONDS_BELOW: Duration = Duration::from_millis(100);
    const TENTHS_BELOW: Duration = Duration::from_millis(9_950);
    if !duration.is_zero() && duration < MILLISECONDS_BELOW {
        return vec![(duration.as_millis().to_string(), names[4])];
    }
    if duration < TENTHS_BELOW {
        let tenths = format!("{:.1}", duration.as_secs_f64());
        return vec![(tenths.strip_suffix(".0").unwrap_or(&tenths).to_owned(), names[3])];
    }
    let seconds = duration.saturating_add(Duration::from_millis(500)).as_secs();
    let largest = SECONDS.iter().position(|unit| seconds >= *unit).unwrap_or(SECONDS.len() - 1);
    let next = SECONDS.get(largest + 1).map(|unit| seconds % SECONDS[largest] / unit);
    let next = next.filter(|count| *count > 0).map(|count| (count.to_string(), names[largest + 1]));
    let first = ((seconds / SECONDS[largest]).to_string(), names[largest]);
    std::iter::once(first).chain(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "job")), ["0 jobs", "1 job", "2 jobs"]);
    }

    #[test]
    fn durations_show_their_two_largest_units_and_short_ones_a_fraction() {
        let cases = [
            (0, "0 s", "0s"),
            (40, "40 ms", "40ms"),
            (500, "0.5 s", "0.5s"),
            (1_000, "1 s", "1s"),
            (9_940, "9.9 s", "9.9s"),
            (9_960, "10 s", "10s"),
            (59_400, "59 s", "59s"),
            (59_700, "1 min", "1m"),
            (192_000, "3 min 12 s", "3m12s"),
            (3_605_000, "1 h", "1h"),
            (7_500_000, "2 h 5 min", "2h5m"),
            (86_400_000, "1 d", "1d"),
            (93_600_000, "1 d 2 h", "1d2h"),
        ];
        for (milliseconds, in_sentence, in_table) in cases {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(format_duration(duration), in_sentence, "{milliseconds} ms");
            assert_eq!(format_short_duration(duration), in_table, "{milliseconds} ms");
        }
    }
}
