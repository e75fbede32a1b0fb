//! Handlers of `/v1/history`, `/v1/jobs/{id}/history` and `/v1/events`.
//!
//! An event stream keeps only the cursor of its last transition and reads the following ones from the
//! database after each commit. A slow client delays only its own stream, and a client that reconnects
//! with that cursor misses nothing.

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

use crate::api::{TransitionEvent, TransitionList};
use crate::store::{HistoryFilter, TransitionRow};

use super::app_state::AppState;
use super::error::ApiError;
use super::extract::QueryParams;
use super::jobs::{find_job, parse_job_id};

/// `GET /v1/history`
pub(super) async fn history(
    State(app): State<AppState>,
    params: QueryParams,
) -> Result<Json<TransitionList>, ApiError> {
    let filter = params.history_filter()?;
    history_page(&app, &filter).await
}

/// `GET /v1/jobs/{id}/history`
pub(super) async fn job_history(
    State(app): State<AppState>,
    Path(id): Path<String>,
    params: QueryParams,
) -> Result<Json<TransitionList>, ApiError> {
    let mut filter = params.history_filter()?;
    let job = find_job(&app, parse_job_id(&id)?).await?;
    filter.job = Some(job.id);
    history_page(&app, &filter).await
}

async fn history_page(
    app: &AppState,
    filter: &HistoryFilter,
) -> Result<Json<TransitionList>, ApiError> {
    let rows = app.reader.history(filter).await?;
    let full = rows.len() == filter.limit as usize;
    let next = rows.last().map(|row| row.cursor.clone()).filter(|_| full);
    Ok(Json(TransitionList {
        transitions: rows.into_iter().map(TransitionEvent::from).collect(),
        next_cursor: next,
    }))
}

/// `GET /v1/events`
pub(super) async fn stream_events(
    State(app): State<AppState>,
    headers: HeaderMap,
    params: QueryParams,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let mut filter = params.event_filter()?;
    // A browser's EventSource sends this header when it reconnects.
    let last_event_id = match headers.get("last-event-id").map(|value| value.to_str()) {
        Some(Ok(text)) => Some(
            text.parse()
                .map_err(|error| ApiError::bad_request(format!("Last-Event-ID: {error}")))?,
        ),
        Some(Err(_)) => return Err(ApiError::bad_request("Last-Event-ID must be ASCII text")),
        None => None,
    };
    let newest = app.newest_event.borrow().clone();
    let after = last_event_id.or(filter.after).unwrap_or(newest);
    app.reader.verify_cursor(&after).await?;
    filter.after = Some(after);
    filter.limit = STREAM_PAGE_SIZE;
    let permit = app.acquire_waiter_permit()?;
    let pages =
        stream::unfold(Some(EventStreamState { app, filter, _permit: permit }), next_sse_page);
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(pages.flat_map(stream::iter)).keep_alive(keep_alive))
}

const STREAM_PAGE_SIZE: u32 = 500;
type SsePage = Vec<Result<SseEvent, Infallible>>;

/// The position of an event stream.
struct EventStreamState {
    app: AppState,
    filter: HistoryFilter,
    _permit: OwnedSemaphorePermit,
}

/// Waits for the next events; the last one, `end`, gives the reason for the end of the stream.
async fn next_sse_page(
    cursor: Option<EventStreamState>,
) -> Option<(SsePage, Option<EventStreamState>)> {
    let mut cursor = cursor?;
    let EventStreamState { app, filter, .. } = &mut cursor;
    let end = |reason: &str| {
        let page = vec![Ok(SseEvent::default().event("end").data(reason))];
        Some((page, None))
    };
    loop {
        let newest = app.newest_event.borrow_and_update().clone();
        if filter.after.as_ref() != Some(&newest) {
            filter.up_to = Some(newest.clone());
            let rows = match app.reader.history(filter).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::error!("an event stream ends after a failed read: {error}");
                    return end("cannot read the database");
                }
            };
            let full = rows.len() == STREAM_PAGE_SIZE as usize;
            // A page that is not full ends at `newest`, whatever the filter left out.
            let last = rows.last().map(|row| row.cursor.clone()).filter(|_| full);
            filter.after = Some(last.unwrap_or(newest));
            if !rows.is_empty() {
                let page = rows.into_iter().map(|row| Ok(to_sse_event(row))).collect();
                return Some((page, Some(cursor)));
            }
            continue;
        }
        tokio::select! {
            changed = app.newest_event.changed() => {
                if changed.is_err() {
                    return end("jobtrackd is shutting down");
                }
            }
            () = app.shutdown.cancelled() => return end("jobtrackd is shutting down"),
        }
    }
}

fn to_sse_event(row: TransitionRow) -> SseEvent {
    let event = TransitionEvent::from(row);
    let sse = SseEvent::default().id(event.cursor.to_string());
    // Serialization of these types cannot fail; if it did, the event would still have its cursor.
    sse.clone().json_data(event).unwrap_or(sse)
}
