//! How single things look as text: jobs, transitions, states, spans of time. Pure; used by every
//! command that prints for people.
//!
//! What a provider or a user wrote passes through [`plain`] before it reaches a terminal.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::api::{Event, Job};
use crate::job::{Labels, State};

/// `text` on one line, without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The colour of a state.
pub(super) fn style(state: State) -> Style {
    match state {
        State::Registered | State::Pending | State::Running | State::Unknown => Style::new(),
        State::Succeeded => AnsiColor::Green.on_default(),
        State::Failed | State::Cancelled | State::Expired => AnsiColor::Red.on_default(),
        State::Indeterminate | State::Lost | State::Untracked => AnsiColor::Yellow.on_default(),
    }
}

fn coloured(state: State) -> String {
    let style = style(state);
    format!("{style}{state}{style:#}")
}

/// `PROVIDER/REMOTE_ID`, as the commands read it.
pub(super) fn name(job: &Job) -> String {
    format!("{}/{}", job.provider, plain(job.remote_id.as_str()))
}

/// A job on one line: `17 dune/01GB… failed  table not found`.
pub(super) fn job_line(job: &Job) -> String {
    let (id, name, state) = (job.id, name(job), coloured(job.state));
    format!("{id} {name} {state}{}", said(job.message.as_deref()))
}

/// A transition on one line.
pub(super) fn event_line(event: &Event) -> String {
    let at = event.observed_at;
    let (id, provider) = (event.job_id, &event.provider);
    let (remote_id, to) = (plain(event.remote_id.as_str()), coloured(event.to_state));
    let from = event.from_state.map_or("new", State::as_str);
    let word = event.provider_state.as_deref();
    let word = word.map(|word| format!("  ({})", plain(word))).unwrap_or_default();
    let message = said(event.message.as_deref());
    format!("{at}  {id} {provider}/{remote_id}  {from} → {to}{word}{message}")
}

fn said(message: Option<&str>) -> String {
    message.map(|message| format!("  {}", plain(message))).unwrap_or_default()
}

/// `a=1 b=2`.
pub(super) fn labels(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

/// The two largest units of a span: `45s`, `3m12s`, `2h5m`, `9d`.
pub(super) fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = span.as_secs();
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, letter) = UNITS[largest];
    let rest = UNITS.get(largest + 1).map(|(smaller, letter)| (seconds % unit / smaller, letter));
    match rest {
        Some((count, smaller)) if count > 0 => {
            format!("{}{letter}{count}{smaller}", seconds / unit)
        }
        Some(_) | None => format!("{}{letter}", seconds / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
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
            assert_eq!(span(Duration::from_secs(seconds)), text, "{seconds} s");
        }
    }

    #[test]
    fn nothing_foreign_steers_the_terminal() {
        assert_eq!(plain("a\u{1b}[31m\nb\u{9b}c"), "a [31m b c");
    }
}
