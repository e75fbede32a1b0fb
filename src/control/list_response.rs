//! The response with a list: one JSON object, written while its rows are read.
//!
//! Used by the handlers of jobs and of the history. The first rows are read before the response begins,
//! so that an error of the database or a wrong cursor has a status of its own; a later error ends the
//! connection before the list is complete.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};

use crate::store::ReadError;

use super::error::ApiError;
use super::row_pages::{PageSize, RowPages};

/// A list that is being written.
struct ListWriter<P: RowPages> {
    pages: P,
    page_size: PageSize,
    /// How many rows may follow.
    remaining: u32,
    /// The position after the last row; `None` before the first one.
    cursor: Option<P::Cursor>,
    finished: bool,
}

/// Responds with `{NAME: [row, …], "next_cursor": …}` and at most `limit` rows.
pub(super) async fn list_response<P: RowPages>(
    name: &'static str,
    pages: P,
    limit: u32,
) -> Result<Response, ApiError> {
    let mut list = ListWriter {
        pages,
        page_size: PageSize::first(),
        remaining: limit,
        cursor: None,
        finished: false,
    };
    let mut text = format!("{{\"{name}\":[").into_bytes();
    list.write_page(&mut text).await?;
    let body = if list.finished {
        Body::from(text)
    } else {
        let rest = stream::unfold(list, async |mut list| {
            if list.finished {
                return None;
            }
            let mut text = Vec::new();
            let written = list.write_page(&mut text).await;
            if let Err(error) = &written {
                tracing::error!(
                    "a response on the control socket ends after a failed read: {error}"
                );
                list.finished = true;
            }
            // A client may read it slowly.
            text.shrink_to_fit();
            Some((written.map(|()| Bytes::from(text)), list))
        });
        Body::from_stream(stream::once(async { Ok(Bytes::from(text)) }).chain(rest))
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl<P: RowPages> ListWriter<P> {
    async fn write_page(&mut self, text: &mut Vec<u8>) -> Result<(), ReadError> {
        let limit = self.page_size.rows().min(self.remaining);
        let rows = self.pages.next_page(limit).await?;
        let begin = text.len();
        let mut is_first = self.cursor.is_none();
        for row in &rows {
            if !std::mem::take(&mut is_first) {
                text.push(b',');
            }
            write_json(text, row)?;
        }
        self.page_size = self.page_size.next(rows.len(), text.len() - begin);
        self.cursor = rows.last().map(P::cursor).or(self.cursor.take());
        let row_count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.remaining = self.remaining.saturating_sub(row_count);
        let no_more_rows = row_count < limit;
        if no_more_rows || self.remaining == 0 {
            self.finished = true;
            text.extend(b"],\"next_cursor\":");
            write_json(text, &self.cursor.take().filter(|_| !no_more_rows))?;
            text.push(b'}');
        }
        Ok(())
    }
}

fn write_json(text: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), ReadError> {
    serde_json::to_writer(text, value).map_err(|error| ReadError::Database(error.to_string()))
}
