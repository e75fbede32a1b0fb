//! A long history: a start reads only what is unfinished, and deletion leaves room for other writes.

use std::time::Duration;

use jobtrack::job::State;
use jobtrack::store::{Batch, BatchTimes, MaintenanceTask};

use crate::support::daemon::DaemonHome;
use crate::support::{db, jobs, timed};

const FINISHED_JOBS: u32 = 30_000;
const TRANSITIONS_PER_JOB: u32 = 4;

/// Fills the tables as the daemon would have done in the past.
fn insert_finished_jobs(home: &DaemonHome) {
    let script = format!(
        "PRAGMA synchronous = off;
         BEGIN;
         WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {FINISHED_JOBS})
         INSERT INTO job (provider, kind, remote_id, state, registered_at, terminal_at)
         SELECT 'dune', 'dune', '01JOB' || i, 'succeeded', '2026-01-01 00:00:00.000',
                '2026-01-01 00:10:00.000' FROM n;
         INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence, observed_at)
         SELECT id, NULL, 'registered', NULL, 'local', '2026-01-01 00:00:00.000' FROM job
         UNION ALL SELECT id, 'registered', 'pending', 'P', 'observed', '2026-01-01 00:01:00.000' FROM job
         UNION ALL SELECT id, 'pending', 'running', 'R', 'observed', '2026-01-01 00:02:00.000' FROM job
         UNION ALL SELECT id, 'running', 'succeeded', 'S', 'observed', '2026-01-01 00:10:00.000' FROM job;
         COMMIT;"
    );
    db::run_script_ok(&home.database(), &script);
}

/// The largest memory that a process has had, in KiB.
fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn fault_27_a_start_with_a_long_history_needs_little_memory() {
    let peak_of = |home: &DaemonHome| {
        let daemon = home.start();
        home.run_client_ok(&["list"]);
        let peak = peak_memory_kib(daemon.pid());
        assert!(daemon.stop().success());
        peak
    };
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let empty = peak_of(&home);
    insert_finished_jobs(&home);
    let full = peak_of(&home);
    // SQLite's own caches have 2 MiB for each of its five connections.
    assert!(full < empty + (16 << 10), "{empty} KiB without a history, {full} KiB with one");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_27_old_jobs_are_deleted_in_batches_with_other_writes_in_between() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    insert_finished_jobs(&home);
    let transitions = "SELECT count(*) FROM transition";
    let expected = FINISHED_JOBS * TRANSITIONS_PER_JOB;
    assert_eq!(db::query_value(&home.database(), transitions), expected.to_string());
    let task = MaintenanceTask::Prune(vec![(State::Succeeded, Duration::from_hours(24))]);
    let (mut batches, mut longest, mut unfinished) = (0, Duration::ZERO, true);
    while unfinished {
        let batch = Batch {
            maintenance: Some(task.clone()),
            times: Some(BatchTimes {
                written_at: jobs::utc("2026-11-21 12:00:00.000"),
                certain_at: Some(jobs::utc("2026-11-21 12:00:00.000")),
                confirmed_at: None,
                contradicting: None,
            }),
            ..Batch::default()
        };
        let (report, took) = timed(|| {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(jobs::write_batch(&mut store, &batch))
            })
        });
        unfinished = report.maintenance_unfinished;
        (batches, longest) = (batches + 1, longest.max(took));
        jobs::register_job(&mut store, &format!("between{batches}")).await;
    }
    assert!(batches >= FINISHED_JOBS / 500, "{batches} batches");
    // `add` waits 5 s for the writer.
    assert!(longest < Duration::from_secs(3), "a batch took {longest:?}");
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM job"), batches.to_string());
    assert_eq!(db::query_value(&home.database(), transitions), batches.to_string());
}
