//! Counts the instructions of the pure parts of a poll with callgrind, since counts are repeatable where
//! times are not: reading an answer, handling it, and choosing the next poll.
//!
//! The program runs itself under valgrind, once for each part; callgrind counts only what runs inside
//! [`counted`]. With `--time-selection` it measures instead, by the clock, how long choosing a poll takes.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark: it measures real time, and a broken expectation ends it"
)]

mod answer_reading;
#[path = "../support/provider_settings.rs"]
mod provider_settings;
mod tracker_load;

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use answer_reading::AnswerReading;
use tracker_load::{JOBS, Step, TrackerLoad};

const REPETITIONS: u64 = 2000;
const TIMED_SELECTIONS: usize = 20_000;

/// Counts the instructions of the pure parts of a poll
#[derive(Parser)]
struct Arguments {
    /// Run only this part, without counting
    #[arg(long, hide = true)]
    part: Option<Part>,
    /// Measure how long choosing the next poll takes
    #[arg(long)]
    time_selection: bool,
    /// Passed by `cargo bench`, but not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    ReadAnswer,
    SameState,
    NewState,
    Select,
}

impl Part {
    fn description(self) -> &'static str {
        match self {
            Self::ReadAnswer => "building a request and reading its answer, without the network",
            Self::SameState => "handling an answer that changes nothing",
            Self::NewState => "handling an answer with a new state, and its commit",
            Self::Select => "choosing the next poll among 100,000 due jobs",
        }
    }

    fn run(self) {
        let step = match self {
            Self::ReadAnswer => return AnswerReading::new().run(REPETITIONS),
            Self::SameState => Step::SameState,
            Self::NewState => Step::NewState,
            Self::Select => Step::Select,
        };
        let mut load = TrackerLoad::new(step);
        for _ in 0..REPETITIONS {
            load.poll_once();
        }
    }
}

fn main() {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(part) => part.run(),
        None if arguments.time_selection => time_selection(),
        None if arguments.bench => count_all(),
        None => println!("This benchmark needs valgrind; run it with `just bench-instructions`."),
    }
}

/// Runs `call`. The name of this function tells callgrind what to count.
#[inline(never)]
fn counted<T>(call: impl FnOnce() -> T) -> T {
    black_box(call())
}

fn count_all() {
    println!("| part | instructions |\n|---|---|");
    for &part in Part::value_variants() {
        println!("| {} | {} |", part.description(), count(part) / REPETITIONS);
    }
}

/// All instructions that callgrind counts for one part.
fn count(part: Part) -> u64 {
    let name = part.to_possible_value().expect("no value is hidden");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=instructions::counted*")
        .arg(std::env::current_exe().expect("this program"))
        .args(["--part", name.get_name()])
        .output()
        .expect("valgrind is installed");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let total = report.lines().find_map(|line| line.split_once("Collected :"));
    total.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("{report}"))
}

fn time_selection() {
    let mut load = TrackerLoad::new(Step::Select);
    let mut durations: Vec<_> = (0..TIMED_SELECTIONS).map(|_| load.poll_once()).collect();
    durations.sort_unstable();
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let mean = durations.iter().sum::<Duration>() / u32::try_from(TIMED_SELECTIONS).expect("few");
    let (p99, worst) = (durations[TIMED_SELECTIONS * 99 / 100], durations[TIMED_SELECTIONS - 1]);
    println!(
        "{JOBS} due jobs: choosing the next one takes {:.1} µs on average, {:.1} µs at the 99th percentile, {:.1} µs at worst",
        micros(mean),
        micros(p99),
        micros(worst)
    );
}
