//! The stand-in for Dune: serves the status endpoint for the jobs of [`super::workload`] and counts polls.
//!
//! Run as a process of its own by [`super::stand_in_process`]. A job is submitted by its first poll.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use super::workload::{Life, job_number, life};

const RESULT_RETENTION: Duration = Duration::from_hours(90 * 24);
/// How many polls of [`Script::EndTogether`] are answered at the same moment.
pub const GROUP: usize = 100;

/// The arguments of the subcommand.
#[derive(Args)]
pub struct StandIn {
    #[arg(long)]
    script: Script,
    /// Jobs with lower numbers are in the middle of their lives at their first poll
    #[arg(long, default_value_t = 0)]
    initial_jobs: u64,
}

/// What the jobs do.
#[derive(Clone, Copy, ValueEnum)]
pub enum Script {
    /// Jobs of some seconds, from pending to completed.
    Stream,
    /// Jobs that execute for ever.
    Unchanging,
    /// The first poll of a job finds it executing. Later polls wait until [`GROUP`] polls wait; then all
    /// of them find their jobs completed.
    EndTogether,
}

/// What the stand-in has answered so far.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counters {
    pub polls: u64,
    /// Answers with a terminal state.
    pub ends: u64,
}

struct Shared {
    script: Script,
    initial_jobs: u64,
    state: Mutex<ServiceState>,
    group: Barrier,
}

#[derive(Default)]
struct ServiceState {
    submitted_at: HashMap<u64, Timestamp>,
    counters: Counters,
}

enum Phase {
    Pending,
    Executing,
    Completed { ended_at: Timestamp },
}

impl StandIn {
    /// Serves until the process is killed; prints the port first.
    pub async fn serve(self) {
        let shared = Shared {
            script: self.script,
            initial_jobs: self.initial_jobs,
            state: Mutex::default(),
            group: Barrier::new(GROUP),
        };
        let router = Router::new()
            .route("/api/v1/execution/{id}/status", get(execution_status))
            .route("/counters", get(counters))
            .with_state(Arc::new(shared));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        println!("{}", listener.local_addr().expect("a bound socket has an address").port());
        let listener = listener.tap_io(|stream| {
            stream.set_nodelay(true).expect("a TCP connection");
        });
        axum::serve(listener, router).await.expect("the server runs until it is killed");
    }
}

async fn counters(State(shared): State<Arc<Shared>>) -> Json<Counters> {
    Json(shared.state.lock().expect("never poisoned").counters)
}

async fn execution_status(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> axum::response::Response {
    let Some(number) = job_number(&id) else {
        return (StatusCode::NOT_FOUND, Json(json!({ "error": "Object not found" })))
            .into_response();
    };
    let life = life(number, shared.initial_jobs);
    let (is_first_poll, submitted_at) = shared.submission(number, &life);
    let ends_at = submitted_at + life.ends_after;
    let phase = match shared.script {
        Script::Stream if Timestamp::now() < submitted_at + life.starts_after => Phase::Pending,
        Script::Stream if Timestamp::now() < ends_at => Phase::Executing,
        Script::Stream => Phase::Completed { ended_at: ends_at },
        Script::Unchanging => Phase::Executing,
        Script::EndTogether if is_first_poll => Phase::Executing,
        Script::EndTogether => {
            shared.group.wait().await;
            Phase::Completed { ended_at: Timestamp::now() }
        }
    };
    shared.count(number, &phase);
    Json(status_body(&id, &life, submitted_at, &phase)).into_response()
}

impl Shared {
    /// Whether this is the first poll of the job, and when the job was submitted.
    fn submission(&self, number: u64, life: &Life) -> (bool, Timestamp) {
        let mut state = self.state.lock().expect("never poisoned");
        let known = state.submitted_at.get(&number).copied();
        let age_at_first_poll = match self.script {
            Script::Stream => life.age_at_first_poll,
            Script::Unchanging | Script::EndTogether => life.starts_after,
        };
        let submitted_at = known.unwrap_or_else(|| Timestamp::now() - age_at_first_poll);
        state.submitted_at.insert(number, submitted_at);
        (known.is_none(), submitted_at)
    }

    fn count(&self, number: u64, phase: &Phase) {
        let mut state = self.state.lock().expect("never poisoned");
        state.counters.polls += 1;
        if matches!(phase, Phase::Completed { .. }) {
            state.counters.ends += 1;
            state.submitted_at.remove(&number);
        }
    }
}

/// The fields that Dune's documentation shows for each phase.
fn status_body(id: &str, life: &Life, submitted_at: Timestamp, phase: &Phase) -> Value {
    let micros = |at: Timestamp| format!("{at:.6}");
    let mut body = json!({
        "execution_id": id,
        "query_id": life.query_id,
        "submitted_at": micros(submitted_at),
    });
    let started_at = submitted_at + life.starts_after;
    match phase {
        Phase::Pending => {
            body["state"] = "QUERY_STATE_PENDING".into();
            body["queue_position"] = 17.into();
        }
        Phase::Executing => {
            body["state"] = "QUERY_STATE_EXECUTING".into();
            body["is_execution_finished"] = false.into();
            body["execution_started_at"] = micros(started_at).into();
        }
        Phase::Completed { ended_at } => {
            let (ended_at, started_for) = (*ended_at, ended_at.duration_since(started_at));
            body["state"] = "QUERY_STATE_COMPLETED".into();
            body["is_execution_finished"] = true.into();
            body["execution_started_at"] = micros(started_at).into();
            body["execution_ended_at"] = micros(ended_at).into();
            body["expires_at"] = micros(ended_at + RESULT_RETENTION).into();
            body["result_metadata"] = json!({
                "column_names": ["Rollup", "Proofs"],
                "column_types": ["varchar", "bigint"],
                "row_count": 9,
                "result_set_bytes": 194,
                "total_row_count": 9,
                "total_result_set_bytes": 194,
                "datapoint_count": 18,
                "pending_time_millis": life.starts_after.as_millis(),
                "execution_time_millis": started_for.as_millis(),
            });
        }
    }
    body
}
