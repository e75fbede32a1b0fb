//! Runs simulations of the daemon: `just simulate --days N --seed S`.
//!
//! Each simulation has a seed of its own, beginning with S, and lasts ten simulated days, of which the last is
//! without faults. A broken rule is printed with its seed and the newest events, and a panic with its seed; the
//! exit code is then 1.

#![allow(clippy::expect_used, reason = "a benchmark: a broken expectation ends it")]

#[path = "../../tests/support/fake_server/mod.rs"]
mod fake_server;
#[path = "../../tests/simulation/simulator/mod.rs"]
mod simulator;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::{Parser, ValueEnum as _};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use simulator::{Options, Profile, Report, simulate};

/// Simulates the daemon and checks it against the reference model
#[derive(Debug, Parser)]
struct Arguments {
    /// Simulated days in all
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// The seed of the first simulation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated days of each seed, the last of them without faults; at least 2
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    days_per_seed: u32,
    /// Simulations at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// The profile of all seeds, instead of one that depends on the seed
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Print every event
    #[arg(long)]
    print: bool,
    /// Cargo passes this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn options_of_run(&self, run: u32) -> Options {
        let seed = self.seed + u64::from(run);
        Options {
            seed,
            profile: self.profile.unwrap_or_else(|| Profile::of_seed(seed)),
            days: self.days_per_seed - 1,
            planted: None,
            print: self.print,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runs = arguments.days.div_ceil(arguments.days_per_seed);
    let (next, failures) = (AtomicU32::new(0), Mutex::new(Vec::new()));
    let totals = Mutex::new(Totals::default());
    let cores = allowed_cores();
    std::thread::scope(|scope| {
        for thread in 0..arguments.threads {
            let core = cores.get(thread as usize % cores.len().max(1)).copied();
            let (arguments, next, failures, totals) = (&arguments, &next, &failures, &totals);
            scope.spawn(move || {
                if let Some(core) = core {
                    stay_on_core(core);
                }
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        return;
                    }
                    let options = arguments.options_of_run(run);
                    let is_success = if let Ok(report) = catch_unwind(|| simulate(options)) {
                        totals.lock().expect("not poisoned").add(&report);
                        print_violations(&report);
                        report.violations.is_empty()
                    } else {
                        // The panic itself has been printed.
                        println!("{}", failure_line(options, "panicked"));
                        false
                    };
                    if !is_success {
                        failures.lock().expect("not poisoned").push(options.seed);
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
        println!("seeds with a broken rule or a panic: {failures:?}");
        ExitCode::FAILURE
    }
}

/// The cores that this process may use; none if that is not known.
fn allowed_cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

/// Keeps the calling thread, and those that it starts, on one core. A simulation and its database threads only
/// ever wait for each other, and waking a thread on another core takes longer than most calls.
fn stay_on_core(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    if let Err(error) = sched_setaffinity(None, &cores) {
        eprintln!("cannot choose the core, which makes the simulation slower: {error}");
    }
}

#[derive(Debug, Default)]
struct Totals {
    simulations: u32,
    seconds: u64,
    events: u64,
    requests: u64,
    disturbed_requests: u64,
    faults: u64,
    jobs: u64,
    starts: u64,
    hash: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.simulations += 1;
        self.seconds += report.simulated.as_secs();
        self.events += report.event_count;
        self.requests += report.requests;
        self.disturbed_requests += report.disturbed_requests;
        self.faults += report.faults;
        self.jobs += report.jobs as u64;
        self.starts += u64::from(report.starts);
        // In any order.
        self.hash ^= report.event_hash;
    }

    fn line(&self) -> String {
        let days = (self.seconds / 86400).max(1);
        let of_day = |count: u64| {
            let tenths = count * 10 / days;
            format!("{}.{}", tenths / 10, tenths % 10)
        };
        format!(
            "{} simulations, {days} simulated days; on each day {} jobs were added, {} requests sent, {} of them \
             answered with a fault, {} other faults caused, and the daemon was started {} times; {} events with \
             the hash {:016x}",
            self.simulations,
            of_day(self.jobs),
            of_day(self.requests),
            of_day(self.disturbed_requests),
            of_day(self.faults),
            of_day(self.starts),
            self.events,
            self.hash
        )
    }
}

fn print_violations(report: &Report) {
    if !report.violations.is_empty() {
        println!(
            "{}\n{}\n\n{}",
            failure_line(report.options, "broke a rule"),
            report.newest_events.join("\n"),
            report.violations.join("\n")
        );
    }
}

fn failure_line(options: Options, failure: &str) -> String {
    let Options { seed, days, profile, .. } = options;
    let days = days + 1;
    format!(
        "\nseed {seed} {failure}; `just simulate --seed {seed} --profile {} --days {days} --days-per-seed {days}` \
         repeats it",
        profile.to_possible_value().expect("no profile is skipped").get_name(),
    )
}
