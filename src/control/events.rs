//! Handlers of `/v1/history`, `/v1/jobs/{id}/history` and `/v1/events`.
//!
//! An event stream keeps only the cursor of its last transition and reads the following ones from the
//! database after each commit. A slow client delays only its own stream, and a client that reconnects
//! with that cursor misses nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use axum::response::{Response, Sse};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};

use crate::api::PrunedTransitions;
use crate::job::EventCursor;
use crate::store::{HistoryFilter, ReadError};

use super::app_state::AppState;
use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;
use super::extract::{PathText, QueryParams};
use super::jobs::{find_job, parse_job_id};
use super::list_response::list_response;
use super::provider_filter::ensure_known;
use super::row_pages::{PageSize, RowPages, TransitionPages};
use super::turn_reader::{ReadPurpose, TurnReader};

/// `GET /v1/history`
pub(super) async fn history(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let filter = params.history_filter()?;
    ensure_known(&app, &connection, filter.provider.as_ref()).await?;
    history_page(app, connection, filter).await
}

/// `GET /v1/jobs/{id}/history`
pub(super) async fn job_history(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    id: PathText,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let mut filter = params.history_filter()?;
    let job = find_job(&app, parse_job_id(id)?).await?;
    filter.job = Some(job.id);
    history_page(app, connection, filter).await
}

async fn history_page(
    app: AppState,
    connection: Arc<ConnectionPermit>,
    filter: HistoryFilter,
) -> Result<Response, ApiError> {
    let limit = filter.limit;
    let reader = TurnReader::new(app.reader, connection, ReadPurpose::List);
    let pages = TransitionPages { reader, filter };
    list_response("transitions", pages, limit).await
}

/// `GET /v1/events`
pub(super) async fn stream_events(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    headers: HeaderMap,
    params: QueryParams,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let mut filter = params.event_filter()?;
    ensure_known(&app, &connection, filter.provider.as_ref()).await?;
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
    filter.after = Some(after.clone());
    connection.begin_following()?;
    let reader = TurnReader::new(app.reader.clone(), connection, ReadPurpose::Stream);
    let events = EventPages {
        pages: TransitionPages { reader, filter },
        page_size: PageSize::first(),
        position: after,
        catching_up: true,
        app,
    };
    let pages = stream::unfold(Some(events), next_sse_page);
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(pages.flat_map(stream::iter)).keep_alive(keep_alive))
}

type SsePage = Vec<Result<SseEvent, Infallible>>;

/// The position of an event stream.
struct EventPages {
    app: AppState,
    pages: TransitionPages,
    page_size: PageSize,
    /// The stream has all transitions up to this one.
    position: EventCursor,
    /// Whether older transitions are read, of which some may have been deleted.
    catching_up: bool,
}

impl EventPages {
    /// The events from the position to `newest`, or as many of them as fill a page.
    async fn read(&mut self, newest: EventCursor) -> Result<SsePage, ReadError> {
        let limit = self.page_size.rows();
        self.pages.filter.up_to = Some(newest.clone());
        let rows = self.pages.next_page(limit).await?;
        let is_full = rows.len() == limit as usize;
        // A page that is not full ends at `newest`, whatever the filter left out.
        let last = rows.last().filter(|_| is_full).map(|row| row.cursor.clone());
        let before = std::mem::replace(&mut self.position, last.unwrap_or(newest));
        self.pages.filter.after = Some(self.position.clone());
        let mut page = SsePage::new();
        if self.catching_up {
            // After the rows: what is deleted between the two queries is reported, not omitted.
            let reader = self.pages.reader.turn().await;
            let count = reader.count_pruned(&before, &self.position).await?;
            if count > 0 {
                let pruned =
                    PrunedTransitions { after: before, up_to: self.position.clone(), count };
                let data = serde_json::to_string(&pruned).unwrap_or_default();
                page.push(Ok(SseEvent::default().event("pruned").data(data)));
            }
            self.catching_up = is_full;
        }
        let mut bytes = 0;
        for row in &rows {
            let data = serde_json::to_string(row).unwrap_or_default();
            bytes += data.len();
            page.push(Ok(SseEvent::default().id(row.cursor.to_string()).data(data)));
        }
        self.page_size = self.page_size.next(rows.len(), bytes);
        Ok(page)
    }
}

/// Waits for the next events; the last one, `end`, gives the reason for the end of the stream.
async fn next_sse_page(events: Option<EventPages>) -> Option<(SsePage, Option<EventPages>)> {
    let mut events = events?;
    let end = |reason: &str| {
        let page = vec![Ok(SseEvent::default().event("end").data(reason))];
        Some((page, None))
    };
    loop {
        let newest = events.app.newest_event.borrow_and_update().clone();
        if events.position != newest {
            match events.read(newest).await {
                Ok(page) if page.is_empty() => {}
                Ok(page) => return Some((page, Some(events))),
                Err(error) => {
                    tracing::error!("an event stream ends after a failed read: {error}");
                    return end("cannot read the database");
                }
            }
            continue;
        }
        tokio::select! {
            changed = events.app.newest_event.changed() => {
                if changed.is_err() {
                    return end("jobtrackd is shutting down");
                }
            }
            () = events.app.shutdown.cancelled() => return end("jobtrackd is shutting down"),
        }
    }
}
