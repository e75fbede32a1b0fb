//! Measures what a poll costs `jobtrackd` (CPU time, context switches, fsyncs, memory), beside simpler
//! pollers that handle the same stream of answers at the same rate.
//!
//! Every poller and the stand-in for Dune run in processes of their own, whose costs are read from `/proc`.
//! The same program is the stand-in and two of the pollers, chosen by a hidden subcommand. Pollers
//! alternate within a round, and ratios are formed within a round, so that a machine that becomes slower
//! affects both sides.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark: it measures real time, and a broken expectation ends it"
)]

mod bare_loop;
mod contender;
mod daemon;
mod fsyncs;
mod measurement;
mod process_cost;
mod report;
mod stand_in;
mod stand_in_process;
#[path = "../../tests/support/mod.rs"]
mod support;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use bare_loop::BareLoop;
use contender::Contender;
use daemon::DaemonProgram;
use measurement::{Measurement, Plan};
use stand_in::StandIn;

/// Measures what a poll costs jobtrackd, beside simpler pollers
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Polls a second
    #[arg(long, value_delimiter = ',', default_value = "50,250,1000")]
    rates: Vec<u32>,
    /// Rounds; each measures every poller once at every rate
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a measurement takes, after the warm-up
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// How long a poller runs before it is measured
    #[arg(long, default_value_t = 4.0)]
    warm_up: f64,
    /// Only these parts: names of pollers, `fsyncs`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure this program instead of building the release
    #[arg(long)]
    jobtrackd: Option<PathBuf>,
    /// Further settings of the daemon's provider, as TOML
    #[arg(long, default_value = "")]
    settings: String,
    /// Passed by `cargo bench`, but not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// Serve the status endpoint of Dune
    #[command(hide = true)]
    StandIn(StandIn),
    /// Poll in one loop on one thread
    #[command(hide = true)]
    BareLoop(BareLoop),
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    match arguments.mode {
        Some(Mode::StandIn(stand_in)) => stand_in.serve().await,
        Some(Mode::BareLoop(bare_loop)) => bare_loop.run().await,
        None if arguments.bench => compare(&arguments).await,
        None => println!("This benchmark takes ten minutes; run it with `just bench-cost`."),
    }
}

/// Runs all parts and prints their tables.
async fn compare(arguments: &Arguments) {
    let is_chosen =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let daemon = DaemonProgram::new(arguments.jobtrackd.clone(), &arguments.settings);
    let contenders: Vec<_> =
        Contender::ALL.into_iter().filter(|contender| is_chosen(contender.name())).collect();
    let mut measurements = Vec::new();
    for round in 0..arguments.rounds {
        for &rate in &arguments.rates {
            for &contender in &contenders {
                let plan = Plan {
                    rate,
                    warm_up: Duration::from_secs_f64(arguments.warm_up),
                    duration: Duration::from_secs_f64(arguments.seconds),
                };
                let cost = contender.measure(&plan, &daemon).await;
                let measurement = Measurement { contender, rate, round, cost };
                eprintln!("{}", report::progress_line(&measurement));
                measurements.push(measurement);
            }
        }
    }
    println!("{}", report::cost_table(&measurements));
    println!("{}", report::ratio_table(&measurements));
    if is_chosen("fsyncs") {
        println!("{}", fsyncs::table(&daemon, &arguments.rates).await);
    }
}
