//! The HTTP API of the control socket: the JSON types and the client.
//!
//! Used by the server (`control`) and by the commands (`cli`). Field names are those of the SQL
//! views and times are RFC 3339; a renamed field breaks the programs that use the API.

mod backup_stream;
mod client;
mod error;
mod event_stream;
mod forecast;
mod messages;

pub use backup_stream::BackupStream;
pub use client::{Client, ListParams, OnDemandResponse};
pub use error::ClientError;
pub use event_stream::{EventStream, StreamedEvent};
pub use forecast::{
    ForecastReasonResponse, ForecastResponse, NextPollResponse, SimilarRunsResponse,
};
pub use messages::*;
