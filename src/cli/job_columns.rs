//! The columns of jobs.

use std::time::Duration;

use anstyle::Style;

use super::cell::Cell;
use super::columns::ColumnKind::{FreeText, Identifier, Number, Time, Word};
use super::columns::Shown::{Always, OnRequest, Wide};
use super::columns::{Column, ColumnKind, RowContext, Shown, TableRow};
use super::render;
use crate::api::{Job, ProviderStatus};
use crate::job::{UtcTime, format_short_duration};

impl TableRow for Job {
    const COLUMNS: &'static [Column<Self>] = &[
        column("id", "JOB", Always, Word, |job, _| Cell::Integer(job.id.0)),
        column("name", "NAME", Always, Identifier, |job, _| Cell::Text(render::job_name(job))),
        column("provider", "PROVIDER", OnRequest, Word, |job, _| {
            Cell::Text(job.provider.to_string())
        }),
        column("kind", "KIND", OnRequest, Word, |job, _| Cell::Text(job.kind.clone())),
        column("remote_id", "REMOTE ID", OnRequest, Identifier, |job, _| {
            Cell::Text(job.remote_id.to_string())
        }),
        column("source", "SOURCE", OnRequest, Identifier, |job, _| Cell::text(job.source.clone())),
        column("state", "STATE", Always, Word, |job, _| Cell::Text(job.state.to_string())),
        column("provider_state", "PROVIDER STATE", Always, Identifier, |job, _| {
            Cell::text(job.provider_state.clone())
        }),
        column("age", "AGE", Always, Number, |job, context| {
            Cell::Seconds(context.now.duration_since(job.registered_at).as_secs_f64().floor())
        }),
        column("queued", "QUEUED", Wide, Number, |job, context| {
            let until_start = job.started_at.zip(job.submitted_at);
            let queued = until_start.map(|(start, begin)| start.duration_since(begin));
            let seconds = job.queue_s.or(queued.map(|queued| queued.as_secs_f64()));
            duration(job, seconds, job.submitted_at, context.now)
        }),
        column("ran", "RAN", Wide, Number, |job, context| {
            duration(job, job.run_s, job.started_at, context.now)
        }),
        column("total", "TOTAL", Wide, Number, |job, context| {
            duration(job, job.total_s, job.submitted_at, context.now)
        }),
        column("next_poll_at", "NEXT POLL", Always, Word, next_poll),
        column("labels", "LABELS", Always, FreeText, |job, _| {
            Cell::text(Some(render::format_labels(&job.labels)))
        }),
        column("message", "MESSAGE", Wide, FreeText, |job, _| Cell::text(job.message.clone())),
        column("registered_at", "REGISTERED", OnRequest, Time, |job, _| {
            Cell::Time(job.registered_at)
        }),
        column("submitted_at", "SUBMITTED", OnRequest, Time, |job, _| Cell::time(job.submitted_at)),
        column("started_at", "STARTED", OnRequest, Time, |job, _| Cell::time(job.started_at)),
        column("ended_at", "ENDED", OnRequest, Time, |job, _| Cell::time(job.ended_at)),
        column("terminal_at", "TERMINAL", OnRequest, Time, |job, _| Cell::time(job.terminal_at)),
        column("expires_at", "EXPIRES", OnRequest, Time, |job, _| Cell::time(job.expires_at)),
        column("last_polled_at", "LAST POLL", OnRequest, Time, |job, _| {
            Cell::time(job.last_polled_at)
        }),
        column("polls", "POLLS", OnRequest, Number, |job, _| Cell::Integer(job.polls.into())),
        column("failed_polls", "FAILED POLLS", OnRequest, Number, |job, _| {
            Cell::Integer(job.failed_polls.into())
        }),
        column("last_poll_error", "LAST POLL ERROR", OnRequest, FreeText, |job, _| {
            Cell::text(job.last_poll_error.clone())
        }),
        column("detection_delay_s", "DETECTION DELAY", OnRequest, Number, |job, _| {
            Cell::seconds(job.detection_delay_s)
        }),
        column("credits", "CREDITS", OnRequest, Number, |job, _| {
            job.credits.map_or(Cell::Missing, Cell::Decimal)
        }),
        column("pinned", "PINNED", OnRequest, Number, |job, _| Cell::Integer(job.pinned.into())),
        column("added_by_user", "ADDED BY", OnRequest, Word, |job, _| {
            Cell::text(render::added_by(job))
        }),
    ];

    fn job_name(&self) -> String {
        render::job_name(self)
    }

    fn style(&self) -> Style {
        render::state_style(self.state)
    }
}

const fn column(
    name: &'static str,
    heading: &'static str,
    shown: Shown,
    kind: ColumnKind,
    cell: fn(&Job, &RowContext) -> Cell,
) -> Column<Job> {
    Column { name, heading, shown, kind, cell }
}

/// Not before the end of a pause, nor before the rate limit allows a request. If many polls are due, and precede this
/// one, the time by which all of them are sent.
fn next_poll(job: &Job, context: &RowContext) -> Cell {
    let provider = context.providers.iter().find(|status| status.provider == job.provider);
    if job.terminal || provider.is_some_and(|status| status.kind.is_none()) {
        return Cell::Missing;
    }
    let pause_end = provider.and_then(|status| Some(status.pause.as_ref()?.until));
    let next_request = provider.and_then(|status| status.next_request_at);
    // A job that was never polled is due.
    let at = job.next_poll_at.max(pause_end).max(next_request).unwrap_or(context.now);
    let wait = Duration::from_secs(at.duration_since(context.now).as_secs());
    let text = match provider.map(ProviderStatus::time_of_due_polls) {
        Some(time) if time >= MIN_QUEUE_TIME.max(wait) => {
            format!("within {}", format_short_duration(time))
        }
        Some(_) | None if wait.is_zero() => "now".to_owned(),
        Some(_) | None => {
            format!("in {}", format_short_duration(wait))
        }
    };
    Cell::TimeAhead { at, text }
}

/// A shorter wait for other polls is not worth a mention.
const MIN_QUEUE_TIME: Duration = Duration::from_secs(10);

/// A duration that is known, or how long it has lasted so far.
fn duration(job: &Job, seconds: Option<f64>, begin: Option<UtcTime>, now: UtcTime) -> Cell {
    match (seconds, begin) {
        (Some(seconds), _) => Cell::Seconds(seconds),
        (None, Some(begin)) if !job.terminal => {
            Cell::SecondsSoFar(now.duration_since(begin).as_secs_f64())
        }
        (None, _) => Cell::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The text for a job that is due after these milliseconds, while so many polls are due.
    fn next_poll_text(due_in: u64, due_polls: u64) -> String {
        let now = UtcTime::from_millis(0);
        let job: Job = serde_json::from_value(json!({
            "id": 1, "provider": "dune", "kind": "dune", "remote_id": "01RUNS", "state": "running",
            "terminal": false, "labels": {}, "registered_at": now, "polls": 1, "failed_polls": 0, "detail": {},
            "next_poll_at": now.plus(Duration::from_millis(due_in)),
        }))
        .expect("a job");
        let status: ProviderStatus = serde_json::from_value(json!({
            "provider": "dune", "kind": "dune", "active_jobs": 3, "due_polls": due_polls, "max_overdue_s": 0.0,
            "in_flight": 0, "requests_last_minute": 1, "requests_per_minute": 30,
            "consecutive_failures": 0, "pause": null,
        }))
        .expect("a status");
        let Cell::TimeAhead { text, .. } =
            next_poll(&job, &RowContext { now, providers: vec![status] })
        else {
            panic!("a time")
        };
        text
    }

    #[test]
    fn the_polls_that_are_due_count_also_before_the_job_is_due() {
        for (due_in, due_polls, expected) in [
            (0, 1, "now"),
            (0, 900, "within 30m"),
            (900, 1, "now"),
            (5_000, 900, "within 30m"),
            (5_900, 3, "in 5s"),
            (3_600_000, 900, "in 1h"),
        ] {
            assert_eq!(next_poll_text(due_in, due_polls), expected);
        }
    }
}
