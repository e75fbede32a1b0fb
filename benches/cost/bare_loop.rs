//! The simplest pollers: one thread, one loop, one request at a time, and optionally one commit per answer.
//!
//! What they cost is a lower bound for a poller that uses the same HTTP client and the same SQLite. They keep
//! no registry of jobs, retry nothing and lose the jobs when they end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rusqlite::{Connection, Statement, params};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;

use super::workload::remote_id;

/// A table like the daemon's `transition`, with its most used index.
const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE transition (
    seq INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, to_state TEXT NOT NULL, observed_at TEXT NOT NULL
) STRICT;
CREATE INDEX transition_job ON transition (job_id, seq);
";
const INSERT: &str = "INSERT INTO transition (job_id, to_state, observed_at) VALUES (?, ?, ?)";

/// The arguments of the subcommand.
#[derive(Args)]
pub struct BareLoop {
    #[arg(long)]
    base_url: String,
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    jobs: u64,
    /// Commit each answer to this database
    #[arg(long)]
    database: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Status {
    state: String,
}

impl BareLoop {
    /// Polls until the process is killed.
    pub async fn run(self) {
        let database = self.database.as_deref().map(open);
        let mut insert = database.as_ref().map(|database| database.prepare(INSERT).expect("SQL"));
        jobtrack::tls::install_cryptography();
        let http = reqwest::Client::new();
        let mut jobs: Vec<u64> = (0..self.jobs).collect();
        let mut next_job = self.jobs;
        let mut pace = tokio::time::interval(Duration::from_secs(1) / self.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            for job in &mut jobs {
                pace.tick().await;
                let url = format!("{}/api/v1/execution/{}/status", self.base_url, remote_id(*job));
                let request = http.get(url).header("x-dune-api-key", "fake-api-key");
                let response = request.send().await.expect("the stand-in answers");
                let body = response.bytes().await.expect("a body");
                let status: Status = serde_json::from_slice(&body).expect("a status");
                if let Some(insert) = &mut insert {
                    commit(insert, *job, &status.state);
                }
                if status.state == "QUERY_STATE_COMPLETED" {
                    *job = next_job;
                    next_job += 1;
                }
            }
        }
    }
}

fn open(path: &Path) -> Connection {
    let database = Connection::open(path).expect("a new database");
    database.execute_batch(SCHEMA).expect("SQL");
    database
}

/// One statement is one transaction.
fn commit(insert: &mut Statement<'_>, job: u64, state: &str) {
    let job = i64::try_from(job).expect("few jobs");
    let now = jiff::Timestamp::now().to_string();
    insert.execute(params![job, state, now]).expect("a commit");
}
