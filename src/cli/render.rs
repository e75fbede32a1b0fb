//! Formats jobs, transitions, labels and durations as text.
//!
//! Pure functions, used by the commands. Text from a provider or a user passes through [`escape_unprintable`]
//! before it is printed.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::api::{Job, TransitionEvent};
use crate::escape::escape_unprintable;
use crate::job::{Labels, State, UtcTime};

/// A time for people, in the format of the database: `2026-11-21 23:17:05.123`.
pub(super) fn format_time(at: UtcTime) -> String {
    at.to_string().replace('T', " ").replace('Z', "")
}

pub(super) fn state_style(state: State) -> Style {
    match state {
        State::Registered | State::Pending | State::Running | State::Unknown => Style::new(),
        State::Succeeded => AnsiColor::Green.on_default(),
        State::Failed | State::Cancelled | State::Expired => AnsiColor::Red.on_default(),
        State::Indeterminate | State::Lost | State::Untracked => AnsiColor::Yellow.on_default(),
    }
}

fn styled_state(state: State) -> String {
    let style = state_style(state);
    format!("{style}{state}{style:#}")
}

/// `PROVIDER/REMOTE_ID`, as the commands accept it.
pub(super) fn job_name(job: &Job) -> String {
    format!("{}/{}", job.provider, escape_unprintable(job.remote_id.as_str()))
}

/// The user who added a job: the name, else the number.
pub(super) fn added_by(job: &Job) -> Option<String> {
    let uid = job.added_by_uid.map(|uid| format!("uid {uid}"));
    job.added_by_user.clone().or(uid)
}

/// A job in one line, such as `17 dune/01GB… failed  table not found`.
pub(super) fn job_line(job: &Job) -> String {
    let (id, name, state) = (job.id, job_name(job), styled_state(job.state));
    format!("{id} {name} {state}{}", message_suffix(job.message.as_deref()))
}

/// A transition in one line, such as
/// `2026-11-22T03:15:52.186Z  17 dune/01GB…  pending → running  (QUERY_STATE_EXECUTING)`.
pub(super) fn event_line(event: &TransitionEvent) -> String {
    let at = event.observed_at;
    let (id, provider) = (event.job_id, &event.provider);
    let (remote_id, to) =
        (escape_unprintable(event.remote_id.as_str()), styled_state(event.to_state));
    let from = event.from_state.map_or("new", State::as_str);
    let provider_state = event.provider_state.as_deref();
    let provider_state =
        provider_state.map(|name| format!("  ({})", escape_unprintable(name))).unwrap_or_default();
    let message = message_suffix(event.message.as_deref());
    format!("{at}  {id} {provider}/{remote_id}  {from} → {to}{provider_state}{message}")
}

fn message_suffix(message: Option<&str>) -> String {
    message.map(|message| format!("  {}", escape_unprintable(message))).unwrap_or_default()
}

/// Labels in one line, such as `a=1 b=2`.
pub(super) fn format_labels(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

/// The two largest units of a duration: `45s`, `3m12s`, `2h5m`, `9d`.
pub(super) fn format_duration(duration: Duration) -> String {
    let parts = two_largest_units(duration.as_secs(), ["d", "h", "m", "s"]);
    parts.map(|(count, letter)| format!("{count}{letter}")).collect::<Vec<_>>().concat()
}

/// The two largest units with SI symbols, and fractions of seconds: `40 ms`, `1.5 s`, `45 s`, `3 min 12 s`.
pub(super) fn format_seconds(seconds: f64) -> String {
    const FRACTION_BELOW_S: f64 = 9.95;
    let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    if !span.is_zero() && span < Duration::from_millis(100) {
        return format!("{} ms", span.as_millis());
    }
    if seconds < FRACTION_BELOW_S {
        let seconds = span.as_secs_f64();
        let exact = format!("{seconds:.1}");
        return format!("{} s", exact.strip_suffix(".0").unwrap_or(&exact));
    }
    let rounded = (span + Duration::from_millis(500)).as_secs();
    let parts = two_largest_units(rounded, ["d", "h", "min", "s"]);
    parts.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// The largest unit that is not zero, and the next one if it is not zero.
fn two_largest_units(
    seconds: u64,
    names: [&'static str; 4],
) -> impl Iterator<Item = (u64, &'static str)> {
    const UNITS: [u64; 4] = [86_400, 3_600, 60, 1];
    let largest = UNITS.iter().position(|unit| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let next = UNITS.get(largest + 1).map(|unit| seconds % UNITS[largest] / unit);
    let next = next.filter(|count| *count > 0).map(|count| (count, names[largest + 1]));
    std::iter::once((seconds / UNITS[largest], names[largest])).chain(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (192, "3m12s"),
            (3_605, "1h"),
            (7_500, "2h5m"),
            (86_400, "1d"),
            (93_600, "1d2h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(format_duration(Duration::from_secs(seconds)), text, "{seconds} s");
        }
    }

    #[test]
    fn short_durations_show_a_fraction() {
        let cases = [
            (0.0, "0 s"),
            (-1.0, "0 s"),
            (0.04, "40 ms"),
            (0.5, "0.5 s"),
            (1.0, "1 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.7, "1 min"),
            (192.0, "3 min 12 s"),
            (7_500.0, "2 h 5 min"),
            (93_600.0, "1 d 2 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(format_seconds(seconds), text, "{seconds} s");
        }
    }
}
