//! The filters of the [`Reader`](super::Reader)'s queries, and the duration samples that it returns.

use crate::job::{
    DurationSample, EventCursor, JobId, ProviderName, RemoteId, StateFilter, UtcTime,
};

/// A duration sample that an earlier run of the daemon may have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDurationSample {
    /// Ascending in the order in which the samples were inserted.
    pub id: i64,
    /// The provider of the job.
    pub provider: ProviderName,
    /// What the job's end contributed.
    pub sample: DurationSample,
}

/// Selects jobs. `None` and an empty list do not filter.
#[derive(Debug, Default)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<StateFilter>,
    pub provider: Option<ProviderName>,
    /// With this remote id.
    pub remote_id: Option<RemoteId>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// Registered at this time or later.
    pub registered_since: Option<UtcTime>,
    /// Registered before this time.
    pub registered_before: Option<UtcTime>,
    /// Whose end was recorded at this time or later.
    pub ended_since: Option<UtcTime>,
    /// With a lower id than this.
    pub before_id: Option<JobId>,
    /// With this id or a greater one.
    pub from_id: Option<JobId>,
    /// The maximum number of rows.
    pub limit: u32,
}

/// Selects transitions. `None` and an empty list do not filter.
#[derive(Debug, Default, Clone)]
pub struct HistoryFilter {
    pub job: Option<JobId>,
    pub after: Option<EventCursor>,
    /// Before this event.
    pub before: Option<EventCursor>,
    /// Up to and including this event.
    pub up_to: Option<EventCursor>,
    /// Observed at this time or later.
    pub observed_since: Option<UtcTime>,
    /// Observed before this time.
    pub observed_before: Option<UtcTime>,
    pub provider: Option<ProviderName>,
    /// Into one of these states.
    pub states: Vec<StateFilter>,
    /// Of jobs with all of these labels.
    pub labels: Vec<(String, String)>,
    /// In the order of the events, or in the reverse order.
    pub newest_first: bool,
    /// The maximum number of rows.
    pub limit: u32,
}
