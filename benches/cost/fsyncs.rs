//! Counts the fsyncs of the daemon under `strace`: of a stream of jobs, of a hundred ends at once, and of polls
//! without news. Also measures the memory of the daemon with a thousand jobs.
//!
//! `strace` stops the daemon at these calls only (`--seccomp-bpf`), but each stop takes some microseconds more
//! than the call.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::daemon::{DaemonProgram, RunningDaemon};
use super::measurement::{COUNT_ROWS, Plan, count_rows, measure};
use super::report::Spread;
use super::stand_in::{GROUP, Script};
use super::stand_in_process::StandInProcess;
use super::workload::unfinished_jobs;

const WARM_UP: Duration = Duration::from_secs(4);
const DURATION: Duration = Duration::from_secs(8);
const GROUPS: u64 = 7;
const MANY_JOBS: u64 = 1000;
const UNCHANGING_RATE: u32 = 250;
const COUNT_RUNNING: &str = "SELECT count(*) FROM transition WHERE to_state = 'running'";
const COUNT_SUCCEEDED: &str = "SELECT count(*) FROM transition WHERE to_state = 'succeeded'";

/// Writes one line for each fsync of a daemon to a file.
struct Trace {
    _directory: TempDir,
    path: PathBuf,
}

/// The table of all figures of this part.
pub async fn table(daemon: &DaemonProgram, rates: &[u32]) -> String {
    let mut table = String::from("| case | figure |\n|---|---|\n");
    let mut add_row = |case: String, figure: String| {
        eprintln!("{case}: {figure}");
        writeln!(table, "| {case} | {figure} |").expect("a string");
    };
    let memory = memory_with_many_jobs(daemon).await;
    add_row(format!("memory with {MANY_JOBS} unfinished jobs"), format!("{memory:.1} MiB"));
    if Command::new("strace").arg("-V").output().is_err() {
        add_row("fsyncs".into(), "not measured: strace is not installed".into());
        return table;
    }
    for &rate in rates {
        let fsyncs = stream(daemon, rate).await;
        add_row(format!("fsyncs a changed row, {rate} polls a second"), format!("{fsyncs:.2}"));
    }
    let spread = Spread::of(ends_at_once(daemon).await).expect("some groups");
    add_row(format!("fsyncs a changed row, {GROUP} ends at once"), spread.format(3));
    let fsyncs = polls_without_news(daemon).await;
    let case = format!("fsyncs a second, {UNCHANGING_RATE} polls a second without news");
    add_row(case, format!("{fsyncs:.2}"));
    table
}

async fn memory_with_many_jobs(daemon: &DaemonProgram) -> f64 {
    let stand_in = StandInProcess::start(Script::Unchanging, 0).await;
    let running = daemon.start(&stand_in, UNCHANGING_RATE, MANY_JOBS).await;
    let plan = Plan { rate: UNCHANGING_RATE, warm_up: WARM_UP, duration: DURATION };
    measure(&plan, running.pid(), None, &stand_in, None).await.resident_mib
}

/// Fsyncs a changed row while jobs start and end.
async fn stream(daemon: &DaemonProgram, rate: u32) -> f64 {
    let trace = Trace::new();
    let jobs = unfinished_jobs(rate);
    let stand_in = StandInProcess::start(Script::Stream, jobs).await;
    let mut running = trace.wrap(daemon).start(&stand_in, rate, jobs).await;
    run_for(WARM_UP, &mut running, &stand_in).await;
    let start = (trace.count(), count_rows(&running.database(), COUNT_ROWS));
    run_for(DURATION, &mut running, &stand_in).await;
    let end = (trace.count(), count_rows(&running.database(), COUNT_ROWS));
    (end.0 - start.0) as f64 / (end.1 - start.1) as f64
}

async fn run_for(duration: Duration, running: &mut RunningDaemon, stand_in: &StandInProcess) {
    for _ in 0..duration.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        running.replace_ended(stand_in.counters().await.ends).await;
    }
}

/// For each of some groups of jobs the fsyncs a changed row, from before the ends until all are recorded.
async fn ends_at_once(daemon: &DaemonProgram) -> Vec<f64> {
    let trace = Trace::new();
    let group = GROUP as u64;
    let stand_in = StandInProcess::start(Script::EndTogether, 0).await;
    let mut running = trace.wrap(daemon).start(&stand_in, 1000, group).await;
    let mut figures = Vec::new();
    for number in 1..=GROUPS {
        let has_counted = |sql: &'static str| {
            let database = running.database();
            move || count_rows(&database, sql) == number * group
        };
        // A job is polled again a second after its first poll, so that none has ended now.
        wait_until(has_counted(COUNT_RUNNING)).await;
        let start = trace.count();
        wait_until(has_counted(COUNT_SUCCEEDED)).await;
        figures.push((trace.count() - start) as f64 / group as f64);
        running.replace_ended(number * group).await;
    }
    figures
}

/// Fsyncs a second for bookkeeping and nothing else.
async fn polls_without_news(daemon: &DaemonProgram) -> f64 {
    let trace = Trace::new();
    let stand_in = StandInProcess::start(Script::Unchanging, 0).await;
    let running = trace.wrap(daemon).start(&stand_in, UNCHANGING_RATE, MANY_JOBS).await;
    wait_until(|| count_rows(&running.database(), COUNT_RUNNING) == MANY_JOBS).await;
    tokio::time::sleep(WARM_UP).await;
    let start = trace.count();
    tokio::time::sleep(DURATION).await;
    (trace.count() - start) as f64 / DURATION.as_secs_f64()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.expect("it happens in a minute");
}

impl Trace {
    fn new() -> Self {
        let directory = TempDir::with_prefix("jobtrack-trace-").expect("a directory");
        Self { path: directory.path().join("fsyncs"), _directory: directory }
    }

    /// The daemon stays the child of this process (`-D`).
    fn wrap(&self, daemon: &DaemonProgram) -> DaemonProgram {
        let path = self.path.to_str().expect("a temporary path");
        let calls = "--trace=fsync,fdatasync";
        daemon.wrapped(&["strace", "-D", "-f", "-qqq", "--seccomp-bpf", calls, "-o", path])
    }

    fn count(&self) -> usize {
        let trace = std::fs::read_to_string(Path::new(&self.path)).expect("a trace");
        // A call that is interrupted by another thread's has two lines; the second begins with "<...".
        trace.lines().filter(|line| line.contains("sync(")).count()
    }
}
