//! Formats jobs, transitions and labels as text.
//!
//! Pure functions, used by the commands. Text from a provider or a user passes through [`escape_unprintable`]
//! before it is printed.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::api::{Job, TransitionEvent};
use crate::escape::escape_unprintable;
use crate::job::{Labels, State, UtcTime, format_duration};

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

/// Whether a job is pinned, in one line, such as `17 dune/01GB… pinned`.
pub(super) fn pin_line(job: &Job) -> String {
    format!("{} {} {}", job.id, job_name(job), if job.pinned { "pinned" } else { "not pinned" })
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

/// A number of seconds of the API, as [`format_duration`] writes durations.
pub(super) fn format_seconds(seconds: f64) -> String {
    format_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
