//! The messages that add jobs. A request with an unknown field is rejected.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limited::{limited_list, limited_map};
use crate::config::PollingConfig;
use crate::job::{JobId, Labels, State};

/// The request of `POST /v1/jobs`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// At most [`AddRequest::MAX_JOBS`].
    #[serde(deserialize_with = "limited_list::<_, _, { AddRequest::MAX_JOBS }>")]
    pub jobs: Vec<AddRequestEntry>,
}

impl AddRequest {
    /// The daemon rejects a request with more jobs.
    pub const MAX_JOBS: usize = 1000;
}

/// One job of an [`AddRequest`]. The names are plain text here, so that an invalid name rejects
/// this job and not the whole request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequestEntry {
    pub provider: String,
    /// The provider's ID of the job.
    pub remote_id: String,
    /// At most [`Labels::MAX_COUNT`].
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "limited_map::<_, { Labels::MAX_COUNT }>"
    )]
    pub labels: BTreeMap<String, String>,
    /// A duration such as `2h`; without it the provider's setting applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<String>,
    /// `auto`, a duration such as `1s`, or `default` for the provider's setting, which also applies to a new job
    /// without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// A name of the user's for similar runs; without it the provider's answers decide which runs
    /// are similar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar_to: Option<String>,
    /// Whether a new job is added if the one with this ID has ended: the service runs it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl AddRequestEntry {
    /// A job without any option.
    #[must_use]
    pub fn new(provider: String, remote_id: String) -> Self {
        Self {
            provider,
            remote_id,
            labels: BTreeMap::new(),
            give_up_after: None,
            price: None,
            similar_to: None,
            again: false,
        }
    }

    /// The values that `give_up_after` may have.
    pub const GIVE_UP_AFTER_RANGE: RangeInclusive<Duration> =
        Duration::from_secs(1)..=PollingConfig::MAX_DURATION;
    pub const GIVE_UP_AFTER_LIMITS: &str = "give_up_after must be at least 1s and at most 400d";
}

/// The response to an [`AddRequest`], sent once the jobs are committed.
#[derive(Debug, Serialize, Deserialize)]
pub struct AddResponse {
    /// One entry for each job of the request, in the same order.
    pub jobs: Vec<AddResponseEntry>,
}

/// The result for one job of an [`AddRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddResponseEntry {
    /// None if the job was rejected.
    pub id: Option<JobId>,
    /// The provider of the request.
    pub provider: String,
    /// The remote ID of the request.
    pub remote_id: String,
    /// None if the job was rejected.
    pub state: Option<State>,
    pub outcome: AddOutcome,
    /// Why the job was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What all known ids of the service look like, if the id of this job does not. The job is tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What adding a job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddOutcome {
    /// The job is new.
    Added,
    /// The job was tracked already; only its labels, its price and its similarity keys may have changed.
    Existing,
    /// The job was not added.
    Rejected,
}
