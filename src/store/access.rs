//! What the scheduler needs of a store. [`Writer`](super::Writer) and [`Reader`](super::Reader) provide
//! it; the simulation in `tests/simulation` puts faults in front of them.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::job::{DurationSample, JobId, ProviderName, RecordedTimes, StoredJob};
use crate::policy::RateLimiterStates;

use super::batch::{Batch, CommitReport};
use super::error::{ReadError, WriteError};
use super::query::StoredDurationSample;

/// Writes batches, one at a time.
pub trait BatchWriter: Debug + Send {
    /// Writes `batch` in one transaction. The future must run to its end: a commit that is interrupted
    /// may or may not have happened.
    ///
    /// # Errors
    /// Why the batch is not confirmed as written; see [`WriteError`].
    fn write<'a>(&'a mut self, batch: &'a Batch)
    -> BoxFuture<'a, Result<CommitReport, WriteError>>;

    /// Ends the writer cleanly, after the last batch. `rate_limiters` are recorded for the next process.
    fn close(self: Box<Self>, rate_limiters: RateLimiterStates) -> BoxFuture<'static, ()>;
}

/// Reads what the tracker starts from, in pages.
pub trait TrackerStateReader: Debug + Send + Sync {
    /// Up to `limit` unfinished jobs in the order of their ids, beginning after `after`.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn unfinished_jobs(
        &self,
        after: JobId,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<StoredJob>, ReadError>>;

    /// The times that earlier processes recorded. In a database without such a record, the time of the
    /// newest transition counts as certain.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn recorded_times(&self) -> BoxFuture<'_, Result<RecordedTimes, ReadError>>;

    /// What the rate limiters of the process before left; nothing unless that process ended in order.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn rate_limiter_states(&self) -> BoxFuture<'_, Result<RateLimiterStates, ReadError>>;

    /// Up to `limit` duration samples in the order of their ids, beginning after `after`.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn duration_samples(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<StoredDurationSample>, ReadError>>;

    /// Up to `limit` jobs that have ended since the first unfinished one began and whose duration samples are kept, newest
    /// first, with their starts; each once for each of its keys.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn ended_runs(
        &self,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(ProviderName, DurationSample)>, ReadError>>;
}
