//! `/v1/history` and `/v1/events`: the `transition` table, by page and as it grows.
//!
//! A stream holds nothing but a number: it reads the table from there whenever something was
//! committed. A slow reader delays only itself, and resumes by that number without a gap.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::api::{Event, History};
use crate::store::{HistoryFilter, TransitionRow};

use super::App;
use super::jobs::{find, number};
use super::problem::Problem;
use super::query::Pairs;

/// `GET /v1/history`
pub(super) async fn history(
    State(app): State<App>,
    pairs: Pairs,
) -> Result<Json<History>, Problem> {
    let (filter, _) = pairs.history_filter()?;
    page(&app, &filter).await
}

/// `GET /v1/jobs/{id}/history`
pub(super) async fn job_history(
    State(app): State<App>,
    Path(id): Path<String>,
    pairs: Pairs,
) -> Result<Json<History>, Problem> {
    let (mut filter, _) = pairs.history_filter()?;
    let job = find(&app, number(&id)?).await?;
    filter.job = Some(job.id);
    page(&app, &filter).await
}

async fn page(app: &App, filter: &HistoryFilter) -> Result<Json<History>, Problem> {
    let rows = app.reader.history(filter).await?;
    let full = rows.len() == filter.limit as usize;
    let next = rows.last().map(|row| row.seq).filter(|_| full);
    Ok(Json(History { transitions: rows.into_iter().map(Event::from).collect(), next }))
}

/// `GET /v1/events`
pub(super) async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Problem> {
    let (mut filter, after) = pairs.event_filter()?;
    // A browser's EventSource sends it on its own when it connects again.
    let resumed = match headers.get("last-event-id").map(|value| value.to_str()) {
        Some(Ok(text)) => Some(
            text.parse()
                .map_err(|_| Problem::bad_request("Last-Event-ID must be a transition's number"))?,
        ),
        Some(Err(_)) => return Err(Problem::bad_request("Last-Event-ID must be a number")),
        None => None,
    };
    let newest = *app.newest.borrow();
    filter.after = resumed.or(after).unwrap_or(newest);
    if filter.after > newest {
        return Err(Problem::bad_request(format!(
            "after={} lies ahead: the newest transition is {newest}; is it another database?",
            filter.after
        )));
    }
    filter.limit = PAGE;
    let place = app.place_to_wait()?;
    let pages = stream::unfold(Some(Cursor { app, filter, _place: place }), next_page);
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(pages.flat_map(stream::iter)).keep_alive(keep_alive))
}

const PAGE: u32 = 500;
type Page = Vec<Result<SseEvent, Infallible>>;

/// Where a stream is.
struct Cursor {
    app: App,
    filter: HistoryFilter,
    _place: OwnedSemaphorePermit,
}

/// The next events, as soon as there are any; a last one, `end`, when the daemon ends.
async fn next_page(cursor: Option<Cursor>) -> Option<(Page, Option<Cursor>)> {
    let mut cursor = cursor?;
    let Cursor { app, filter, .. } = &mut cursor;
    let end = |why: &str| {
        let page = vec![Ok(SseEvent::default().event("end").data(why))];
        Some((page, None))
    };
    loop {
        let newest = *app.newest.borrow_and_update();
        if newest > filter.after {
            filter.up_to = Some(newest);
            let rows = match app.reader.history(filter).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::error!("an event stream ends: {error}");
                    return end("the database cannot be read");
                }
            };
            let full = rows.len() == PAGE as usize;
            // What the filter passed over is behind us too.
            filter.after = rows.last().map(|row| row.seq).filter(|_| full).unwrap_or(newest);
            if !rows.is_empty() {
                let page = rows.into_iter().map(|row| Ok(event(row))).collect();
                return Some((page, Some(cursor)));
            }
            continue;
        }
        tokio::select! {
            changed = app.newest.changed() => {
                if changed.is_err() {
                    return end("jobtrackd ends");
                }
            }
            () = app.shutdown.cancelled() => return end("jobtrackd ends"),
        }
    }
}

fn event(row: TransitionRow) -> SseEvent {
    let event = Event::from(row);
    let sse = SseEvent::default().id(event.seq.to_string());
    // Numbers, names and texts always make JSON; an event without data would still carry its number.
    sse.clone().json_data(event).unwrap_or(sse)
}
