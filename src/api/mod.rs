//! The wire: the types of the control socket's JSON, and its client.
//!
//! Shared by the server (`control`) and the commands (`cli`). Names are those of the SQL views;
//! times are RFC 3339. Changing a field here changes a contract.

mod client;
mod forecast;
mod types;

pub use client::{Client, ClientError, EventStream, ListParams, OnDemandResponse};
pub use forecast::{
    ForecastReasonResponse, ForecastResponse, NextPollResponse, SimilarRunsResponse,
};
pub use types::*;
