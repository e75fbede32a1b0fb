//! Measures the release build with up to a million unfinished jobs: start, memory, idle CPU, the requests of the
//! socket, the documented SQL, and adds beside what SQLite alone needs for the same rows.
//!
//! The databases are made once and kept below cargo's target directory. Raw SQLite and the daemon alternate
//! within a run, so that the ratios hold on a machine that is busy.
#![allow(
    unreachable_pub,
    dead_code,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark: it measures real time, and a broken expectation ends it"
)]

mod adds;
mod daemon;
mod database;
#[path = "../cost/process_cost.rs"]
mod process_cost;
mod queries;
mod report;
#[path = "../cost/stand_in.rs"]
mod stand_in;
#[path = "../cost/stand_in_process.rs"]
mod stand_in_process;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../cost/workload.rs"]
mod workload;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use daemon::DaemonProgram;
use report::Table;
use stand_in::StandIn;

/// Measures jobtrackd with up to a million unfinished jobs
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Numbers of unfinished jobs
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    sizes: Vec<u64>,
    /// Transitions a job
    #[arg(long, default_value_t = 10)]
    transitions: u64,
    /// Starts of each size, and rounds of adds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long the idle daemon is watched, in seconds
    #[arg(long, default_value_t = 20)]
    idle_seconds: u64,
    /// Leave out the documented SQL
    #[arg(long)]
    no_sql: bool,
    /// Leave out the adds
    #[arg(long)]
    no_adds: bool,
    /// Also write the tables to this file
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Measure this program instead of building the release; `jobtrack` must be beside it
    #[arg(long)]
    jobtrackd: Option<PathBuf>,
    /// Passed by `cargo bench`, but not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// Serve the status endpoint of Dune
    #[command(hide = true)]
    StandIn(StandIn),
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    match &arguments.mode {
        Some(Mode::StandIn(_)) => {
            let Some(Mode::StandIn(stand_in)) = arguments.mode else { return };
            stand_in.serve().await;
        }
        None if arguments.bench => measure(&arguments).await,
        None => println!("This benchmark takes half an hour; run it with `just bench-scale`."),
    }
}

async fn measure(arguments: &Arguments) {
    let program = DaemonProgram::new(arguments.jobtrackd.clone());
    let empty_mib = daemon::measure_empty(&program).await;
    let mut scale = Table::new("unfinished jobs");
    for &jobs in &arguments.sizes {
        let database = database::filled(jobs, arguments.transitions).await;
        scale.add_column(&jobs.to_string());
        scale.add("size of the database, MB", database::megabytes(&database));
        daemon::measure(&program, &database, jobs, empty_mib, arguments, &mut scale).await;
        eprintln!("{}", scale.to_markdown());
        if !arguments.no_sql {
            queries::measure_sql(&database, &mut scale);
        }
    }
    let mut text = scale.to_markdown();
    if !arguments.no_adds {
        text.push('\n');
        text.push_str(&adds::measure(&program, arguments.rounds).await.to_markdown());
    }
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, text).expect("the file can be written");
    }
}
