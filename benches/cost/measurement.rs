//! Measures one running poller: costs from `/proc`, polls from the stand-in, rows from the database.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::contender::Contender;
use super::daemon::RunningDaemon;
use super::process_cost::{CpuCost, ProcessCost};
use super::stand_in::Counters;
use super::stand_in_process::StandInProcess;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// A table that the daemon and the other pollers have.
pub const COUNT_ROWS: &str = "SELECT count(*) FROM transition";

/// How one poller is run.
pub struct Plan {
    pub rate: u32,
    pub warm_up: Duration,
    pub duration: Duration,
}

/// One run of a poller.
pub struct Measurement {
    pub contender: Contender,
    pub rate: u32,
    pub round: usize,
    pub cost: Cost,
}

/// What a poller cost while it was measured.
pub struct Cost {
    pub polls_per_second: f64,
    pub cpu_micros_per_poll: f64,
    pub voluntary_switches_per_poll: f64,
    pub involuntary_switches_per_poll: f64,
    /// None without a database.
    pub rows_per_poll: Option<f64>,
    pub resident_mib: f64,
}

struct Sample {
    at: Instant,
    cpu: CpuCost,
    counters: Counters,
    rows: Option<u64>,
}

/// Measures the process from its first poll on; a daemon gets new jobs for those that have ended.
pub async fn measure(
    plan: &Plan,
    pid: u32,
    database: Option<&Path>,
    stand_in: &StandInProcess,
    mut daemon: Option<&mut RunningDaemon>,
) -> Cost {
    while stand_in.counters().await.polls == 0 {
        assert!(Path::new(&format!("/proc/{pid}/task")).exists(), "the poller has ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut process = ProcessCost::new(pid);
    let mut samples = Vec::new();
    for duration in [plan.warm_up, plan.duration] {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            tokio::time::sleep_until((Instant::now() + SAMPLE_INTERVAL).min(end).into()).await;
            process.read();
            if let Some(daemon) = &mut daemon {
                daemon.replace_ended(stand_in.counters().await.ends).await;
            }
        }
        samples.push(Sample {
            at: Instant::now(),
            cpu: process.read(),
            counters: stand_in.counters().await,
            rows: database.map(|database| count_rows(database, COUNT_ROWS)),
        });
    }
    let [start, end] = &samples[..] else { unreachable!("one sample after each phase") };
    cost(start, end, process.resident_mib())
}

fn cost(start: &Sample, end: &Sample, resident_mib: f64) -> Cost {
    let polls = (end.counters.polls - start.counters.polls) as f64;
    let cpu = end.cpu - start.cpu;
    let rows = start.rows.zip(end.rows).map(|(start, end)| (end - start) as f64);
    Cost {
        polls_per_second: polls / (end.at - start.at).as_secs_f64(),
        cpu_micros_per_poll: cpu.nanoseconds as f64 / 1000.0 / polls,
        voluntary_switches_per_poll: cpu.voluntary_switches as f64 / polls,
        involuntary_switches_per_poll: cpu.involuntary_switches as f64 / polls,
        rows_per_poll: rows.map(|rows| rows / polls),
        resident_mib,
    }
}

/// The result of a query that counts.
pub fn count_rows(database: &Path, sql: &str) -> u64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(database, flags).expect("a database");
    let rows: i64 = database.query_row(sql, [], |row| row.get(0)).expect("a number");
    rows.unsigned_abs()
}
