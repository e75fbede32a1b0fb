//! Reads the rows of a list or an event stream a few at a time, while they are sent.
//!
//! Used by the handlers of lists and events. However long a list is and however slowly a client reads it,
//! one connection holds a few rows in memory, and no query of the database stays open.

use serde::Serialize;

use crate::api::{Job, TransitionEvent};
use crate::job::{EventCursor, JobId};
use crate::store::{HistoryFilter, JobFilter, ReadError};

use super::turn_reader::TurnReader;

/// The rows that a filter selects, from a position on.
pub(super) trait RowPages: Send + 'static {
    type Row: Serialize + Send;
    type Cursor: Serialize + Send;

    /// Reads the next rows, at most `limit`; fewer if there are no more.
    fn next_page(
        &mut self,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Self::Row>, ReadError>> + Send;

    /// The position after this row.
    fn cursor(row: &Self::Row) -> Self::Cursor;
}

/// Jobs, newest first.
pub(super) struct JobPages {
    pub(super) reader: TurnReader,
    pub(super) filter: JobFilter,
}

impl RowPages for JobPages {
    type Row = Job;
    type Cursor = JobId;

    async fn next_page(&mut self, limit: u32) -> Result<Vec<Job>, ReadError> {
        self.filter.limit = limit;
        let reader = self.reader.turn().await;
        if self.filter.from_id.is_none() {
            let mut first = None;
            if let Some(since) = self.filter.registered_since {
                let Some(bound) = reader.job_id_lower_bound(since).await? else {
                    return Ok(Vec::new());
                };
                first = Some(bound);
            }
            if let Some(since) = self.filter.ended_since {
                let Some(bound) = reader.ended_job_id_lower_bound(since).await? else {
                    return Ok(Vec::new());
                };
                first = first.max(Some(bound));
            }
            self.filter.from_id = first;
        }
        let rows = reader.jobs(&self.filter).await?;
        drop(reader);
        self.filter.before_id = rows.last().map(|row| row.id).or(self.filter.before_id);
        Ok(rows.into_iter().map(Job::from).collect())
    }

    fn cursor(row: &Job) -> JobId {
        row.id
    }
}

/// Transitions, in the order that the filter names.
pub(super) struct TransitionPages {
    pub(super) reader: TurnReader,
    pub(super) filter: HistoryFilter,
}

impl RowPages for TransitionPages {
    type Row = TransitionEvent;
    type Cursor = EventCursor;

    async fn next_page(&mut self, limit: u32) -> Result<Vec<TransitionEvent>, ReadError> {
        self.filter.limit = limit;
        let rows = self.reader.turn().await.history(&self.filter).await?;
        if let Some(last) = rows.last() {
            let end = if self.filter.newest_first {
                &mut self.filter.before
            } else {
                &mut self.filter.after
            };
            *end = Some(last.cursor.clone());
        }
        Ok(rows.into_iter().map(TransitionEvent::from).collect())
    }

    fn cursor(row: &TransitionEvent) -> EventCursor {
        row.cursor.clone()
    }
}

/// How many rows are read next: as many as fill [`Self::TARGET_BYTES`] if they are as long as the last
/// ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSize(u32);

impl PageSize {
    const TARGET_BYTES: usize = 16 << 10;
    const FIRST: u32 = 8;
    const MAX: u32 = 500;

    pub(super) fn first() -> Self {
        Self(Self::FIRST)
    }

    pub(super) fn rows(self) -> u32 {
        self.0
    }

    /// The size after a page of `rows` rows that have `bytes` bytes as JSON.
    pub(super) fn next(self, rows: usize, bytes: usize) -> Self {
        if rows == 0 {
            return self;
        }
        let fitting = Self::TARGET_BYTES * rows / bytes.max(1);
        Self(u32::try_from(fitting).unwrap_or(Self::MAX).clamp(1, Self::MAX))
    }
}
