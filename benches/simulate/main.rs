//! Runs simulations of the daemon: `just simulate --days N --seed S`.
//!
//! Each simulation has a seed of its own, beginning with S, and lasts up to ten simulated days. A broken
//! rule is printed with its seed and the newest events, and the exit code is 1.

#![allow(clippy::expect_used, reason = "a benchmark: a broken expectation ends it")]

#[path = "../../tests/support/fake_server/mod.rs"]
mod fake_server;
#[path = "../../tests/simulation/simulator/mod.rs"]
mod simulator;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;
use simulator::{Options, Report, simulate};

/// Simulates the daemon and checks it against the reference model
#[derive(Debug, Parser)]
struct Arguments {
    /// Simulated days in all
    #[arg(long, default_value_t = 100)]
    days: u32,
    /// The seed of the first simulation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated days of each seed
    #[arg(long, default_value_t = 10)]
    days_per_seed: u32,
    /// Simulations at the same time
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Print every event
    #[arg(long)]
    print: bool,
    /// Cargo passes this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runs = arguments.days.div_ceil(arguments.days_per_seed);
    let (next, failures) = (AtomicU32::new(0), Mutex::new(Vec::new()));
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        return;
                    }
                    let days = arguments.days_per_seed.min(arguments.days);
                    let seed = arguments.seed + u64::from(run);
                    let options = Options { seed, days, planted: None, print: arguments.print };
                    let report = simulate(options);
                    totals.lock().expect("not poisoned").add(&report);
                    if !report.violations.is_empty() {
                        print_failure(&report);
                        failures.lock().expect("not poisoned").push(seed);
                    }
                }
            });
        }
    });
    println!("{}", totals.lock().expect("not poisoned").line());
    let mut failures = failures.lock().expect("not poisoned").clone();
    failures.sort_unstable();
    if failures.is_empty() {
        println!("no rule was broken");
        ExitCode::SUCCESS
    } else {
        println!("seeds with a broken rule: {failures:?}");
        ExitCode::FAILURE
    }
}

#[derive(Debug, Default)]
struct Totals {
    simulations: u32,
    seconds: u64,
    events: u64,
    requests: u64,
    jobs: usize,
    starts: u32,
    hash: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.simulations += 1;
        self.seconds += report.simulated.as_secs();
        self.events += report.event_count;
        self.requests += report.requests;
        self.jobs += report.jobs;
        self.starts += report.starts;
        // In any order.
        self.hash ^= report.event_hash;
    }

    fn line(&self) -> String {
        format!(
            "{} simulations, {} simulated days, {} jobs, {} requests, {} starts of the daemon, {} \
             events with the hash {:016x}",
            self.simulations,
            self.seconds / 86400,
            self.jobs,
            self.requests,
            self.starts,
            self.events,
            self.hash
        )
    }
}

fn print_failure(report: &Report) {
    let Options { seed, days, .. } = report.options;
    println!(
        "\nseed {seed} broke a rule; `just simulate --seed {seed} --days {days} --days-per-seed \
         {days}` repeats it\n{}\n\n{}",
        report.newest_events.join("\n"),
        report.violations.join("\n")
    );
}
