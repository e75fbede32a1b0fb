//! The HTTP API of the control socket: the JSON types and the client.
//!
//! Used by the server (`control`) and by the commands (`cli`). Field names are those of the SQL
//! views and times are RFC 3339; a renamed field breaks the programs that use the API. A response may
//! gain fields: the client ignores unknown ones, so that an older client understands a newer daemon.

mod add;
mod admin;
mod backup_stream;
mod client;
mod error;
mod event_stream;
mod forecast;
mod history;
mod job;
mod limited;
mod problem;
mod socket_search;
mod status;

pub use add::{AddOutcome, AddRequest, AddRequestEntry, AddResponse, AddResponseEntry};
pub use admin::{
    ConnectionCheckResponse, ForgetDurationsResponse, PrunableJobs, PruneForecast, ReloadResponse,
};
pub use backup_stream::BackupStream;
pub use client::{Client, ListParams, OnDemandResponse};
pub use error::ClientError;
pub use event_stream::{EventStream, StreamedEvent};
pub use forecast::{
    ForecastReasonResponse, ForecastResponse, NextPollResponse, PollDelayResponse,
    SimilarRunsResponse,
};
pub use history::{PrunedTransitions, TransitionEvent, TransitionList};
pub use job::{Job, JobList};
pub use problem::ProblemDetails;
pub use socket_search::{FailedSearch, SocketProblem, TriedSocket};
pub use status::{
    DaemonStatus, FailedPollStatus, PauseCause, PauseStatus, ProviderStatus, ReloadFailure,
    StoreStatus,
};
