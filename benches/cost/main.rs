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
mod chart;
mod contender;
mod daemon;
mod fsyncs;
mod layers;
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
use layers::measure_layers;
use measurement::{Measurement, Plan};
use report::Spread;
use stand_in::StandIn;

/// The rate of most rounds and of the layers.
const MAIN_RATE: u32 = 250;
/// The rounds of the other rates.
const OTHER_ROUNDS: usize = 3;

/// Measures what a poll costs jobtrackd, beside simpler pollers
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Polls a second
    #[arg(long, value_delimiter = ',', default_value = "50,250,1000")]
    rates: Vec<u32>,
    /// Rounds, each with every poller once; rates other than 250 take part in the first three
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a measurement takes, after the warm-up
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// How long a poller runs before it is measured
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// One short round, to see that everything works
    #[arg(long)]
    quick: bool,
    /// Draw the CPU times into this SVG file
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Only these parts: bare, bare-commit, asyncio, jobtrackd, fsyncs, layers
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
    let daemon = DaemonProgram::new(arguments.jobtrackd.clone(), &arguments.settings);
    let measurements = measure_contenders(arguments, &daemon).await;
    if !measurements.is_empty() {
        println!("{}", report::cost_table(&measurements));
        println!("{}", report::ratio_table(&measurements));
    }
    if arguments.includes("fsyncs") {
        println!("{}", fsyncs::table(&daemon, &arguments.rates).await);
    }
    let mut layers = Vec::new();
    if arguments.includes("layers") {
        let micros = report::costs(&measurements, MAIN_RATE, Contender::Jobtrackd)
            .map(|cost| cost.cpu_micros_per_poll);
        let median = Spread::of(micros).map(|spread| spread.median);
        match measure_layers(&daemon, MAIN_RATE, median).await {
            Ok(measured) => layers = measured,
            Err(reason) => eprintln!("layers: not measured: {reason}"),
        }
        println!("{}", layers::table(&layers, MAIN_RATE));
    }
    if let Some(path) = &arguments.picture {
        let picture = chart::render(&measurements, &layers);
        std::fs::write(path, picture).expect("the picture can be written");
    }
}

async fn measure_contenders(arguments: &Arguments, daemon: &DaemonProgram) -> Vec<Measurement> {
    let is_chosen = |contender: &Contender| arguments.includes(contender.name());
    let contenders: Vec<_> = Contender::ALL.into_iter().filter(is_chosen).collect();
    let mut measurements = Vec::new();
    for round in 0..arguments.rounds() {
        for &rate in &arguments.rates {
            if rate != MAIN_RATE && round >= OTHER_ROUNDS {
                continue;
            }
            for &contender in &contenders {
                let cost = contender.measure(&arguments.plan(rate), daemon).await;
                let measurement = Measurement { contender, rate, round, cost };
                eprintln!("{}", report::progress_line(&measurement));
                measurements.push(measurement);
            }
        }
    }
    measurements
}

impl Arguments {
    fn includes(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds }
    }

    fn plan(&self, rate: u32) -> Plan {
        let (warm_up, seconds) = if self.quick { (2.0, 3.0) } else { (self.warm_up, self.seconds) };
        let [warm_up, duration] = [warm_up, seconds].map(Duration::from_secs_f64);
        Plan { rate, warm_up, duration }
    }
}
